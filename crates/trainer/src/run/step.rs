//! One step of a run: micro-batches, the optimiser, and what is told of it.

use std::time::{Duration, Instant};

use cogview4_model::{CogView4Transformer, memory::peak_resident_bytes};

use super::Trainer;
use crate::{
    error::{Result, TrainError},
    metrics::StepMetrics,
    optimizer::Gradients,
    samples::Loader,
    schedule::order::Sample,
    step::{GradientSink, UpdateAtOnce, Updated, dump, forward_backward},
};

/// What may be no finite number.
const LOSS: &str = "the loss is";
const NORM: &str = "the norm of the gradients is";

/// What the micro-batches of a step gave.
struct Passed {
    model: CogView4Transformer,
    loss: f64,
    gradients: Gradients,
    /// What came of the step, where it was made within the backward pass.
    updated: Option<Updated>,
    /// Time that was waited for samples, and that forward and backward passes took.
    took: [Duration; 3],
}

impl Trainer {
    /// Makes one optimiser step.
    pub(super) fn step(&mut self, loader: &mut Loader) -> Result<StepMetrics> {
        let start = Instant::now();
        let (recipe, number) = (self.config.recipe.clone(), self.step + 1);
        let lr = recipe.schedule.at(self.step, self.total_steps);
        let samples = self.order.step(self.step);
        let Passed { mut model, loss, mut gradients, updated, took } = self.pass(loader, &samples, (number, lr))?;
        let check = |value: f64, what| match value.is_finite() {
            true => Ok(()),
            false => Err(TrainError::Diverged { step: number, what }),
        };
        check(loss, LOSS)?;
        let updated = match updated {
            Some(updated) => updated,
            None => {
                let start = Instant::now();
                let grad_norm = gradients.clip_norm(recipe.max_grad_norm);
                check(grad_norm, NORM)?;
                let is_finite;
                (model, is_finite) = self.optimizer.step(number, lr, model, gradients)?;
                Updated { grad_norm, is_finite, took: start.elapsed() }
            }
        };
        check(updated.grad_norm, NORM)?;
        if !updated.is_finite {
            return Err(TrainError::Diverged { step: number, what: "a weight or moment is" });
        }
        self.model = Some(model);
        self.step = number;
        self.last_norm = recipe.optimizer_in_backward.then_some(updated.grad_norm as f32);
        let [waited, forward, backward] = took.map(|took| took.as_secs_f64());
        Ok(StepMetrics {
            step: number,
            loss,
            lr,
            grad_norm: updated.grad_norm,
            samples_per_second: samples.len() as f64 / start.elapsed().as_secs_f64(),
            peak_memory_bytes: peak_resident_bytes(),
            anon_memory_bytes: self.memory.peak(),
            data_seconds: waited,
            forward_seconds: forward,
            backward_seconds: backward,
            update_seconds: updated.took.as_secs_f64(),
        })
    }

    /// Forward and backward passes of step `number`, at this learning rate, micro-batch by micro-batch.
    fn pass(&mut self, loader: &mut Loader, samples: &[Sample], (number, lr): (usize, f64)) -> Result<Passed> {
        let recipe = self.config.recipe.clone();
        let computed = (recipe.compute_dtype, self.config.gradient_checkpointing);
        let micros: Vec<_> = samples.chunks(recipe.train_batch_size).collect();
        let mut passed = Passed {
            model: self.model.take().expect("invariant: there between steps"),
            loss: 0.0,
            gradients: Gradients::kept_in(self.gradient_memory.as_ref()),
            updated: None,
            took: [Duration::ZERO; 3],
        };
        for (index, micro) in micros.iter().enumerate() {
            let start = Instant::now();
            let encoded =
                micro.iter().map(|&sample| loader.next(sample, &self.packed.encoder)).collect::<Result<Vec<_>>>()?;
            passed.took[0] += start.elapsed();
            let batch = self.batch_maker().make(&encoded);
            // Each sample of the step counts the same, also where the last micro-batch is short.
            let weight = micro.len() as f64 / samples.len() as f64;
            // Gradients are complete with the last micro-batch.
            let is_at_once = recipe.optimizer_in_backward && index + 1 == micros.len();
            let clip = (recipe.max_grad_norm, self.last_norm.map(f64::from));
            let update = match is_at_once {
                true => Some(UpdateAtOnce::new(&mut self.optimizer, (number, lr), clip)),
                false => None,
            };
            let mut sink = GradientSink { gradients: &mut passed.gradients, weight: weight as f32, update };
            let start = Instant::now();
            let output;
            (passed.model, output) = forward_backward(passed.model, &batch, computed, &mut sink)?;
            passed.updated = sink.update.map(UpdateAtOnce::finish);
            let updating = passed.updated.as_ref().map_or(Duration::ZERO, |updated| updated.took);
            passed.took[1] += output.forward;
            passed.took[2] += start.elapsed().saturating_sub(output.forward + updating);
            if let (0, 0, Some(path)) = (self.step, index, &self.config.dump_step) {
                dump(path, &batch, &output)?;
            }
            passed.loss += output.loss * weight;
        }
        Ok(passed)
    }
}

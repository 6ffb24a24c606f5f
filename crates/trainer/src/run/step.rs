//! One step of a run: micro-batches, the optimiser, and what is told of it.

use std::time::{Duration, Instant};

use cogview4_model::memory::peak_resident_bytes;

use super::Trainer;
use crate::{
    error::{Result, TrainError},
    metrics::StepMetrics,
    optimizer::Gradients,
    samples::Loader,
    step::{GradientSink, UpdateAtOnce, dump, forward_backward},
};

/// What may be no finite number.
const LOSS: &str = "the loss is";
const NORM: &str = "the norm of the gradients is";

impl Trainer {
    /// Makes one optimiser step.
    pub(super) fn step(&mut self, loader: &mut Loader) -> Result<StepMetrics> {
        let start = Instant::now();
        let (recipe, number) = (self.config.recipe.clone(), self.step + 1);
        let computed = (recipe.compute_dtype, self.config.gradient_checkpointing);
        let lr = recipe.schedule.at(self.step, self.total_steps);
        let samples = self.order.step(self.step);
        let micros: Vec<_> = samples.chunks(recipe.train_batch_size).collect();
        let mut model = self.model.take().expect("invariant: there between steps");
        let (mut loss, mut gradients, mut waited) = (0.0, Gradients::default(), Duration::ZERO);
        let mut updated = None;
        for (index, micro) in micros.iter().enumerate() {
            let waiting = Instant::now();
            let encoded =
                micro.iter().map(|&sample| loader.next(sample, &self.packed.encoder)).collect::<Result<Vec<_>>>()?;
            waited += waiting.elapsed();
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
            let mut sink = GradientSink { gradients: &mut gradients, weight: weight as f32, update };
            let output;
            (model, output) = forward_backward(model, &batch, computed, &mut sink)?;
            updated = sink.update.map(UpdateAtOnce::finish);
            if let (0, 0, Some(path)) = (self.step, index, &self.config.dump_step) {
                dump(path, &batch, &output)?;
            }
            loss += output.loss * weight;
        }
        let check = |value: f64, what| match value.is_finite() {
            true => Ok(()),
            false => Err(TrainError::Diverged { step: number, what }),
        };
        check(loss, LOSS)?;
        let (grad_norm, is_finite) = match updated {
            Some(updated) => updated,
            None => {
                let norm = gradients.clip_norm(recipe.max_grad_norm);
                check(norm, NORM)?;
                let is_finite;
                (model, is_finite) = self.optimizer.step(number, lr, model, gradients)?;
                (norm, is_finite)
            }
        };
        check(grad_norm, NORM)?;
        if !is_finite {
            return Err(TrainError::Diverged { step: number, what: "a weight or moment is" });
        }
        self.model = Some(model);
        self.step = number;
        self.last_norm = recipe.optimizer_in_backward.then_some(grad_norm as f32);
        Ok(StepMetrics {
            step: number,
            loss,
            lr,
            grad_norm,
            samples_per_second: samples.len() as f64 / start.elapsed().as_secs_f64(),
            peak_memory_bytes: peak_resident_bytes(),
            anon_memory_bytes: self.memory.peak(),
            data_seconds: waited.as_secs_f64(),
        })
    }
}

//! One step of a run: micro-batches, the optimiser, and what is told of it.

use std::time::{Duration, Instant};

use cogview4_model::{
    CogView4Transformer, CogView4TransformerConfig, ComputeDtype, activations::ActivationSettings,
    memory::peak_resident_bytes, ops::ProductKernel,
};

use super::{Trainer, turns::Turn};
use crate::{
    checkpoint,
    distributed::{ExchangeTimes, SharedStep},
    error::{Result, TrainError},
    metrics::{ProcessMetrics, StepMetrics},
    optimizer::Gradients,
    samples::{Loader, MicroBatch},
    schedule::order::Sample,
    step::{GradientSink, UpdateAtOnce, Updated, dump, forward_backward},
};

/// Forward passes that a forward and a backward pass are worth.
const MODEL_PASSES: f64 = 3.0;
/// What may be no finite number.
const LOSS: &str = "the loss is";
const NORM: &str = "the norm of the gradients is";

/// What the micro-batches of a step gave.
struct Passed {
    model: CogView4Transformer,
    /// The part of the loss that is this process's.
    loss: f64,
    gradients: Gradients,
    /// What came of the step, where it was made within the backward pass.
    updated: Option<Updated>,
    /// Time that was waited for samples, and that forward and backward passes took.
    took: [Duration; 3],
    /// Floating-point operations of the forward passes.
    flops: f64,
    exchanged: ExchangeTimes,
}

impl Trainer {
    /// Makes one optimiser step.
    pub(super) fn step(&mut self, loader: &mut Loader) -> Result<StepMetrics> {
        let start = Instant::now();
        let (recipe, number) = (self.config.recipe.clone(), self.step + 1);
        let lr = recipe.schedule.at(self.step, self.total_steps);
        let samples = self.order.step(self.step);
        let Passed { model, loss, gradients, updated, took, flops, exchanged } =
            self.pass(loader, &samples, (number, lr))?;
        let loss = self.group.sum("the loss", loss);
        self.check_finite(loss.is_finite(), LOSS, (loss, None))?;
        let (model, updated, gathered) = match updated {
            Some(updated) => (model, updated, ExchangeTimes::default()),
            None => self.update(model, gradients, (number, lr), loss)?,
        };
        let measured = (loss, Some(updated.grad_norm));
        self.check_finite(updated.grad_norm.is_finite(), NORM, measured)?;
        self.check_finite(updated.is_finite, "a weight or moment is", measured)?;
        self.model = Some(model);
        self.step = number;
        self.last_norm = recipe.optimizer_in_backward.then_some(updated.grad_norm as f32);
        let [waited, forward, backward] = took.map(|took| took.as_secs_f64());
        // Of nothing it would be a part, where no peak is known.
        let of_peak = self.peak_flops.map(|peak| MODEL_PASSES * self.group.sum("what was computed", flops) / peak);
        let seconds = start.elapsed().as_secs_f64();
        Ok(StepMetrics {
            step: number,
            loss,
            lr,
            grad_norm: updated.grad_norm,
            loss_z: None,
            grad_norm_z: None,
            samples_per_second: samples.len() as f64 / seconds,
            mfu: of_peak.map(|of_peak| of_peak / seconds),
            peak_flops: self.peak_flops,
            kernel: ProductKernel::of(&self.opened.device, self.config.recipe.compute_dtype.dtype())
                .map(|kernel| kernel.name().into()),
            peak_memory_bytes: peak_resident_bytes(),
            anon_memory_bytes: self.memory.peak(),
            data_seconds: waited,
            forward_seconds: forward,
            backward_seconds: backward,
            update_seconds: updated.took.as_secs_f64(),
            save_seconds: self.take_save_time().as_secs_f64(),
            processes: self.processes(exchanged, gathered),
        })
    }

    /// Refuses numbers of the step that is made, which are the same for every process.
    fn check_finite(
        &mut self,
        is_finite: bool,
        what: &'static str,
        (loss, grad_norm): (f64, Option<f64>),
    ) -> Result<()> {
        if is_finite {
            return Ok(());
        }
        // One that is still being written is of a good step.
        self.saving.take();
        let newest = checkpoint::list(&self.config.output_dir).ok().and_then(|mut all| all.pop());
        let newest = newest.map(|(step, _)| format!("checkpoint-{step}"));
        let diverged = TrainError::Diverged { step: self.step + 1, what, loss, grad_norm, newest };
        self.group.agree("a step that diverged", Err(diverged))
    }

    /// What is measured where several processes train together.
    fn processes(&self, exchanged: ExchangeTimes, gathered: ExchangeTimes) -> Option<ProcessMetrics> {
        let seconds = |times: ExchangeTimes| [times.busy.as_secs_f64(), times.waited.as_secs_f64()];
        let ([exchange, exchange_wait], [gather, gather_wait]) = (seconds(exchanged), seconds(gathered));
        self.partition.is_some().then_some(ProcessMetrics {
            processes: self.group.size(),
            exchange_seconds: exchange,
            exchange_wait_seconds: exchange_wait,
            gather_seconds: gather,
            gather_wait_seconds: gather_wait,
        })
    }

    /// Updates the model by all gradients of the step.
    fn update(
        &mut self,
        model: CogView4Transformer,
        mut gradients: Gradients,
        numbers: (usize, f64),
        loss: f64,
    ) -> Result<(CogView4Transformer, Updated, ExchangeTimes)> {
        let (start, recipe) = (Instant::now(), self.config.recipe.clone());
        let Some(partition) = self.partition.clone() else {
            let grad_norm = gradients.clip_norm(recipe.max_grad_norm);
            self.check_finite(grad_norm.is_finite(), NORM, (loss, Some(grad_norm)))?;
            let (model, is_finite) = self.optimizer.step(numbers.0, numbers.1, model, gradients)?;
            let updated = Updated { grad_norm, is_finite, took: start.elapsed() };
            return Ok((model, updated, ExchangeTimes::default()));
        };
        let own = gradients.norms().joint().powi(2);
        let grad_norm = self.group.sum("the norm of the gradients", own).sqrt();
        self.check_finite(grad_norm.is_finite(), NORM, (loss, Some(grad_norm)))?;
        gradients.scale_to(recipe.max_grad_norm, grad_norm);
        let dtype = recipe.compute_dtype.dtype();
        let step = SharedStep::new(&self.group, &partition, &mut self.optimizer, numbers, dtype);
        let (model, is_finite, times) = step.run(model, gradients)?;
        let is_finite = !self.group.any("whether all numbers are finite", !is_finite);
        Ok((model, Updated { grad_norm, is_finite, took: start.elapsed() }, times))
    }

    /// Forward and backward passes of step `number`, at this learning rate, micro-batch by micro-batch.
    fn pass(&mut self, loader: &mut Loader, samples: &[Sample], (number, lr): (usize, f64)) -> Result<Passed> {
        let recipe = self.config.recipe.clone();
        let computed = (recipe.compute_dtype, self.config.gradient_checkpointing);
        let mut exchange = self.begin_exchange();
        let own_memory = self.gradient_memory.as_ref().filter(|_| exchange.is_none());
        let mut passed = Passed {
            gradients: match self.optimizer.is_on_device() {
                true => Gradients::on_device(),
                false => Gradients::kept_in(own_memory),
            },
            model: self.model.take().expect("invariant: there between steps"),
            loss: 0.0,
            updated: None,
            took: [Duration::ZERO; 3],
            flops: 0.0,
            exchanged: ExchangeTimes::default(),
        };
        for (index, Turn { samples: micro, weight, round, is_last }) in self.turns(samples).into_iter().enumerate() {
            let leaving = exchange.as_mut().zip(round);
            if micro.is_empty() {
                leaving.into_iter().for_each(|(exchange, round)| exchange.send_all(&mut passed.gradients, &round));
                continue;
            }
            let start = Instant::now();
            let encoded =
                micro.iter().map(|&sample| loader.next(sample, &self.packed.encoder)).collect::<Result<Vec<_>>>()?;
            passed.took[0] += start.elapsed();
            let batch = self.batch_maker().make(&encoded);
            passed.flops += forward_flops(passed.model.config(), &batch, recipe.compute_dtype);
            // Gradients are complete with the last micro-batch.
            let clip = (recipe.max_grad_norm, self.last_norm.map(f64::from));
            let update = match recipe.optimizer_in_backward && is_last {
                true => Some(UpdateAtOnce::new(&mut self.optimizer, (number, lr), clip)),
                false => None,
            };
            let mut sink = GradientSink { gradients: &mut passed.gradients, weight, update, exchange: leaving };
            let start = Instant::now();
            let output;
            (passed.model, output) = forward_backward(passed.model, &batch, computed, &mut sink)?;
            passed.updated = sink.update.map(UpdateAtOnce::finish);
            let updating = passed.updated.as_ref().map_or(Duration::ZERO, |updated| updated.took);
            passed.took[1] += output.forward;
            passed.took[2] += start.elapsed().saturating_sub(output.forward + updating);
            if let (0, 0, true, Some(path)) = (self.step, index, self.group.is_first(), &self.config.dump_step) {
                dump(path, &batch, &output)?;
            }
            passed.loss += output.loss * (micro.len() as f64 / samples.len() as f64);
        }
        if let Some(exchange) = exchange {
            (passed.gradients, passed.exchanged) = exchange.finish();
        }
        Ok(passed)
    }
}

/// Floating-point operations of a forward pass.
fn forward_flops(config: &CogView4TransformerConfig, batch: &MicroBatch, dtype: ComputeDtype) -> f64 {
    config.activations(batch.lengths(config), ActivationSettings::new(dtype)).flops
}

//! Where gradients go while a backward pass gives them: kept until it is over, or used at once.

use std::time::{Duration, Instant};

use burn::{module::Module, tensor::Gradients as BackwardPass};
use cogview4_model::CogView4Transformer;

use crate::{
    distributed::{Exchange, Round},
    error::Result,
    optimizer::{AdamW, AllFinite, Gradients, Norms, block_prefix},
};

/// Takes gradients, part of the model by part.
pub(crate) struct GradientSink<'a> {
    /// The sums of all parts that were not used yet.
    pub gradients: &'a mut Gradients,
    /// What those of this pass count.
    pub weight: f32,
    /// Uses those of a part as soon as they are complete.
    pub update: Option<UpdateAtOnce<'a>>,
    /// Sends those of a part to their owners as soon as they are complete.
    pub exchange: Option<(&'a mut Exchange, Round)>,
}

/// A step of the optimiser that is made part by part, while the backward pass goes on.
pub(crate) struct UpdateAtOnce<'a> {
    optimizer: &'a mut AdamW,
    number: usize,
    learning_rate: f64,
    max_grad_norm: f64,
    last_norm: Option<f64>,
    /// Of what was updated.
    norms: Norms,
    /// Whether all that was updated is finite.
    finite: AllFinite,
    took: Duration,
}

/// What came of a step that was made part by part.
pub(crate) struct Updated {
    /// The norm of all gradients, unscaled.
    pub grad_norm: f64,
    /// Whether all that was updated is finite.
    pub is_finite: bool,
    /// Time that the updates took.
    pub took: Duration,
}

impl GradientSink<'_> {
    /// Adds the gradients of a block, of a pass over each part of the micro-batch.
    pub(super) fn add_block<M: Module>(&mut self, index: usize, passes: Vec<(M, BackwardPass)>) {
        self.gradients.take_parts(&block_prefix(index), passes, self.weight);
    }

    /// Adds the gradients of a model, or of what of it is not in a block.
    pub(super) fn add<M: Module>(&mut self, passes: Vec<(M, BackwardPass)>) {
        self.gradients.take_parts("", passes, self.weight);
    }

    /// The gradients of a block are complete, and nobody else holds it.
    pub(super) fn block_is_complete(
        &mut self,
        index: usize,
        model: CogView4Transformer,
    ) -> Result<CogView4Transformer> {
        let prefix = block_prefix(index);
        if let Some((exchange, round)) = &mut self.exchange {
            exchange.send(&prefix, self.gradients, round);
        }
        let Some(update) = &mut self.update else { return Ok(model) };
        let own = self.gradients.split_off(&prefix);
        model.map_block(index, |block| update.step(&prefix, block, own))
    }

    /// All gradients are complete, and nobody else holds the model.
    pub(super) fn all_is_complete(&mut self, model: CogView4Transformer) -> Result<CogView4Transformer> {
        if let Some((exchange, round)) = &mut self.exchange {
            exchange.send("", self.gradients, round);
        }
        let Some(update) = &mut self.update else { return Ok(model) };
        let rest = std::mem::take(self.gradients);
        model.map_outside(|outside| update.step("", outside, rest))
    }
}

impl<'a> UpdateAtOnce<'a> {
    /// Makes step `number`, the first is 1. How much gradients are scaled is decided by the norm of the step before, as
    /// this step's is known only when all is over; without one, by each part's own.
    pub(crate) fn new(
        optimizer: &'a mut AdamW,
        (number, learning_rate): (usize, f64),
        (max_grad_norm, last_norm): (f64, Option<f64>),
    ) -> Self {
        Self {
            optimizer,
            number,
            learning_rate,
            max_grad_norm,
            last_norm,
            norms: Norms::default(),
            finite: AllFinite::default(),
            took: Duration::ZERO,
        }
    }

    pub(crate) fn finish(self) -> Updated {
        Updated { grad_norm: self.norms.joint(), is_finite: self.finite.is_finite(), took: self.took }
    }

    fn step<M: Module>(&mut self, prefix: &str, part: M, mut gradients: Gradients) -> Result<M> {
        let (start, own) = (Instant::now(), gradients.norms());
        gradients.scale_to(self.max_grad_norm, self.last_norm.unwrap_or_else(|| own.joint()));
        self.norms.add(own);
        let (part, finite) = self.optimizer.step_part(self.number, self.learning_rate, prefix, part, gradients)?;
        self.finite.and(finite);
        self.took += start.elapsed();
        Ok(part)
    }
}

//! What comes out of a micro-batch.

use std::time::Duration;

use burn::tensor::Tensor;

/// What a micro-batch gives; its gradients are taken.
pub(crate) struct StepOutput {
    /// Mean loss of its samples.
    pub loss: f64,
    /// `[B, C, h, w]`, in f32.
    pub model_output: Tensor<4>,
    /// Time until the loss was there.
    pub forward: Duration,
}

impl StepOutput {
    /// That of all parts.
    pub(super) fn joined(parts: Vec<Self>) -> Self {
        Self {
            loss: parts.iter().map(|part| part.loss).sum(),
            forward: parts.iter().map(|part| part.forward).max().unwrap_or_default(),
            model_output: Tensor::cat(parts.into_iter().map(|part| part.model_output).collect(), 0),
        }
    }
}

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

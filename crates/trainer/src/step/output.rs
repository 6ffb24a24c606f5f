//! What comes out of a micro-batch.

use std::time::Duration;

use burn::tensor::TensorData;

/// What a micro-batch gives; its gradients are taken.
pub(crate) struct StepOutput {
    /// Mean loss of its samples.
    pub loss: f64,
    /// `[B, C, h, w]`.
    pub model_output: TensorData,
    /// Time until the loss was there.
    pub forward: Duration,
}

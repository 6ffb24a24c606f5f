//! What the page keeps of the steps: as much after a million of them as after a thousand.

use std::collections::VecDeque;

use crate::{
    metrics::{OUTLIER, StepMetrics},
    page::{Curve, Smoothing},
};

/// Smoothing of the loss, as in TensorBoard.
const DECAY: f64 = 0.9;
/// Outliers that are marked in a plot: the newest.
const MAX_MARKS: usize = 256;

/// The curves of the steps, and the last step.
#[derive(Debug, Default)]
pub(super) struct StepCurves {
    pub loss: Curve,
    pub smoothed_loss: Curve,
    pub far_losses: Marks,
    pub grad_norm: Curve,
    pub far_norms: Marks,
    pub learning_rate: Curve,
    /// In GB.
    pub anon_memory: Curve,
    pub peak_memory: Curve,
    pub last: Option<StepMetrics>,
    /// The loss at the last step, smoothed.
    pub loss_now: f64,
    smoothing: Smoothing,
}

impl StepCurves {
    pub(super) fn push(&mut self, metrics: &StepMetrics) {
        let step = metrics.step as f64;
        self.loss_now = self.smoothing.next(metrics.loss, DECAY);
        self.loss.push(step, metrics.loss);
        self.smoothed_loss.push(step, self.loss_now);
        self.far_losses.push(step, metrics.loss, metrics.loss_z);
        self.grad_norm.push(step, metrics.grad_norm);
        self.far_norms.push(step, metrics.grad_norm, metrics.grad_norm_z);
        self.learning_rate.push(step, metrics.lr);
        self.anon_memory.push(step, metrics.anon_memory_bytes as f64 / 1e9);
        self.peak_memory.push(step, metrics.peak_memory_bytes as f64 / 1e9);
        self.last = Some(metrics.clone());
    }
}

/// Steps that lie far from those before them.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<(f64, f64)>);

impl Marks {
    fn push(&mut self, step: f64, value: f64, z: Option<f64>) {
        if z.is_none_or(|z| z.abs() <= OUTLIER) {
            return;
        }
        if self.0.len() == MAX_MARKS {
            self.0.pop_front();
        }
        self.0.push_back((step, value));
    }

    pub(super) fn points(&self) -> Vec<(f64, f64)> {
        self.0.iter().copied().collect()
    }
}

//! What a program that trains with this library can look at, and act on, while a run goes on.

use std::{ops::ControlFlow, path::Path};

use serde::{Deserialize, Serialize};

use crate::validation::Validation;

/// What is measured of a step; a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, the first is 1.
    pub step: usize,
    /// Mean loss of the step's samples.
    pub loss: f64,
    /// Learning rate used in this step.
    pub lr: f64,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Samples of this step over the time it took.
    pub samples_per_second: f64,
    /// The most memory that the process has held.
    pub peak_memory_bytes: u64,
}

/// Called by a run. Breaking off finishes it as a signal does: with a checkpoint. `()` does nothing.
///
/// ```
/// use std::ops::ControlFlow;
/// use cogview4_trainer::{Callbacks, StepMetrics};
///
/// /// Ends a run when the loss is low enough.
/// struct Until(f64);
///
/// impl Callbacks for Until {
///     fn on_step_end(&mut self, metrics: &StepMetrics) -> ControlFlow<()> {
///         if metrics.loss < self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
///     }
/// }
/// ```
pub trait Callbacks {
    /// After each optimiser step.
    fn on_step_end(&mut self, metrics: &StepMetrics) -> ControlFlow<()> {
        let _ = metrics;
        ControlFlow::Continue(())
    }

    /// After each validation.
    fn on_validation_end(&mut self, validation: &Validation) -> ControlFlow<()> {
        let _ = validation;
        ControlFlow::Continue(())
    }

    /// After a checkpoint was written.
    fn on_checkpoint(&mut self, folder: &Path) {
        let _ = folder;
    }
}

impl Callbacks for () {}

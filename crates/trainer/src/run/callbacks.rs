//! What a program that trains with this library can look at, and act on, while a run goes on.

use std::{ops::ControlFlow, path::Path};

use crate::metrics::{StepMetrics, Validation};

/// Called by a run, of several processes by the first. Breaking off finishes it as a signal does: with a checkpoint. `()` does nothing.
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

//! Validation within a run: each process its part, the first tells of it.

use std::time::Instant;

use indicatif::ProgressBar;

use super::{Callbacks, Trainer};
use crate::{error::Result, samples::BatchMaker, trackers::Trackers};

impl Trainer {
    /// Measures, and generates pictures, unless an earlier part of the run has done so at this step.
    pub(super) fn validate(
        &self,
        trackers: &mut Trackers,
        callbacks: &mut impl Callbacks,
        progress: &ProgressBar,
    ) -> Result<()> {
        let is_done = self.group.of_first("whether to validate", trackers.is_validated(self.step));
        if !self.config.recipe.control || is_done {
            return Ok(());
        }
        progress.set_message("validating");
        let (start, validator) = (Instant::now(), &self.packed.validator);
        let own = self.group.while_all_work("validating", &self.stop, || {
            validator.run(self.step, self.model(), &self.batch_maker(), &self.stop)
        })?;
        let parts: Option<Vec<_>> = self.group.gather("what was validated", own).into_iter().collect();
        let Some(parts) = parts.filter(|_| self.group.is_first()) else { return Ok(()) };
        let validation = validator.join((self.step, start.elapsed().as_secs_f64()), self.model(), parts);
        trackers.validation(&validation)?;
        if callbacks.on_validation_end(&validation).is_break() {
            self.stop.request();
        }
        Ok(())
    }

    pub(super) fn batch_maker(&self) -> BatchMaker<'_> {
        let configs = &self.opened.configs;
        BatchMaker {
            recipe: &self.config.recipe,
            scheduler: &configs.scheduler,
            scaling_factor: configs.vae.scaling_factor,
            shift_factor: configs.vae.shift_factor.unwrap_or(0.0),
            patch_size: configs.transformer.patch_size,
            seed: self.order.seed,
            device: &self.opened.device,
        }
    }
}

//! Checkpoints: written while training waits, or while it goes on.

use std::{
    panic,
    path::PathBuf,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Callbacks, Trainer};
use crate::{
    checkpoint::{Machine, Snapshot, TrainState, Writer},
    distributed::Group,
    error::{Result, TrainError},
};

/// A checkpoint that is written while training goes on. Dropped, it is waited for: it is of a step that was good.
pub(super) struct Saving(Option<JoinHandle<Result<PathBuf>>>);

impl Saving {
    fn begin(write: impl FnOnce() -> Result<PathBuf> + Send + 'static) -> Result<Self> {
        let thread = thread::Builder::new().name("saving".into()).spawn(write);
        let thread = thread.map_err(|error| TrainError::setting("background_saves", format!("no thread: {error}")))?;
        Ok(Self(Some(thread)))
    }

    fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end, and gives the checkpoint.
    pub(super) fn finish(mut self) -> Result<PathBuf> {
        let thread = self.0.take().expect("invariant: taken here and on drop only");
        thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

impl Trainer {
    /// Writes a checkpoint, or begins to; the one that is still being written is waited for. Training is held up for
    /// what the metrics of the next step tell.
    pub(super) fn save_checkpoint(&mut self, callbacks: &mut impl Callbacks) -> Result<()> {
        let start = Instant::now();
        self.finish_saving(callbacks)?;
        let dtype = self.config.save_dtype.dtype();
        let snapshot = Snapshot::take(self.state(), self.model(), &self.optimizer, dtype)?;
        let limit = self.config.checkpoints_total_limit;
        if self.config.background_saves {
            let output_dir = self.config.output_dir.clone();
            let write = move || Writer { group: &Group::alone(), output_dir: &output_dir }.checkpoint(snapshot, limit);
            self.saving = Some(Saving::begin(write)?);
        } else {
            let written = self.writer().checkpoint(snapshot, limit)?;
            self.tell(callbacks, &written);
        }
        self.save_took += start.elapsed();
        Ok(())
    }

    /// Waits for the checkpoint that is being written, if there is one.
    pub(super) fn finish_saving(&mut self, callbacks: &mut impl Callbacks) -> Result<()> {
        let Some(saving) = self.saving.take() else { return Ok(()) };
        let written = saving.finish()?;
        self.tell(callbacks, &written);
        Ok(())
    }

    /// Tells of the checkpoint that was being written, if it is by now.
    pub(super) fn look_after_saving(&mut self, callbacks: &mut impl Callbacks) -> Result<()> {
        match self.saving.as_ref().is_some_and(Saving::is_finished) {
            true => self.finish_saving(callbacks),
            false => Ok(()),
        }
    }

    /// Time that saving has held up training since this was asked last.
    pub(super) fn take_save_time(&mut self) -> Duration {
        std::mem::take(&mut self.save_took)
    }

    pub(super) fn writer(&self) -> Writer<'_> {
        Writer { group: &self.group, output_dir: &self.config.output_dir }
    }

    fn tell(&self, callbacks: &mut impl Callbacks, written: &std::path::Path) {
        if self.group.is_first() {
            callbacks.on_checkpoint(written);
        }
    }

    fn state(&self) -> TrainState {
        let depends = self.config.recipe.schedule.depends_on_total();
        TrainState {
            step: self.step,
            seed: self.order.seed,
            processes: self.group.size(),
            total_steps: depends.then_some(self.total_steps),
            recipe: self.config.recipe.clone(),
            data_hash: self.packed.rows.data_hash.clone(),
            last_norm: self.last_norm,
            machine: Some(Machine::here(self.config.device)),
        }
    }
}

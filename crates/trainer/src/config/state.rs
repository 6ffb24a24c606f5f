//! Where the optimiser's state is kept, and how.

use std::path::PathBuf;

use super::TrainConfig;
use crate::{
    names::names,
    optimizer::{StateOptions, StatePlace},
};

/// Where masters and moments are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OptimizerOffload {
    /// In the host's memory, where they are updated.
    #[default]
    None,
    /// The same: there is no other place for them than the host.
    Cpu,
    /// In a file, of which the system keeps in memory what it has room for.
    Disk,
}

names!(OptimizerOffload { None = "none", Cpu = "cpu", Disk = "disk" });

impl TrainConfig {
    /// The folder of files that are gone with the run, where there are any.
    pub(crate) fn scratch_folder(&self) -> Option<PathBuf> {
        let folder = || self.scratch_dir.clone().unwrap_or_else(|| self.output_dir.join("scratch"));
        (self.optimizer_offload == OptimizerOffload::Disk).then(folder)
    }

    /// How the optimiser keeps its state in a run of this seed.
    pub(crate) fn state_options(&self, seed: u64) -> StateOptions {
        StateOptions {
            use_8bit: self.recipe.use_8bit_adam,
            stochastic_rounding: self.recipe.stochastic_rounding.then_some(seed),
            place: self.scratch_folder().map_or(StatePlace::Memory, StatePlace::Disk),
        }
    }
}

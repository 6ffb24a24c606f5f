//! Where what a run keeps is, and how.

use std::path::PathBuf;

use burn::tensor::Device;

use super::TrainConfig;
use crate::{
    names::names,
    optimizer::{StateOptions, StatePlace},
};

/// Where something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offload {
    /// Where it is used: on a GPU, steps of the optimiser are made there.
    #[default]
    None,
    /// In the host's memory.
    Cpu,
    /// In a file, of which the system keeps in memory what it has room for.
    Disk,
}

/// What processes that train together divide among them (ZeRO). Masters and moments always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZeroStage {
    /// Gradients leave a process once a step: less communication where a step has several micro-batches.
    One,
    /// Gradients leave with each micro-batch, so that none keeps the sums of others.
    #[default]
    Two,
}

names!(ZeroStage { One = "1", Two = "2" });
names!(Offload { None = "none", Cpu = "cpu", Disk = "disk" });

impl TrainConfig {
    /// The folder of files that are gone with the run, where there are any.
    pub(crate) fn scratch_folder(&self) -> Option<PathBuf> {
        let folder = || self.scratch_dir.clone().unwrap_or_else(|| self.output_dir.join("scratch"));
        (self.optimizer_offload == Offload::Disk || self.files_gradients()).then(folder)
    }

    /// Whether the gradients of a step wait in a file until all are there.
    pub(crate) fn files_gradients(&self) -> bool {
        let leaves_at_once = self.recipe.optimizer_in_backward && self.recipe.gradient_accumulation_steps == 1;
        self.gradient_offload == Offload::Disk && !leaves_at_once
    }

    /// In a file of the scratch folder.
    pub(crate) fn scratch_place(&self) -> StatePlace {
        self.scratch_folder().map_or(StatePlace::Memory, StatePlace::Disk)
    }

    /// Whether steps of the optimiser are made on the device, with its state there: on a GPU, unless something is asked for
    /// that is of the host.
    pub(crate) fn updates_on_device(&self, is_shared: bool) -> bool {
        let recipe = &self.recipe;
        let is_of_host = recipe.use_8bit_adam || recipe.stochastic_rounding || is_shared;
        let offloads = [self.optimizer_offload, self.gradient_offload, self.param_offload];
        !self.device.is_cpu() && !is_of_host && offloads == [Offload::None; 3]
    }

    /// How the optimiser keeps its state in a run of this seed, of one or several processes on such a device.
    pub(crate) fn state_options(&self, seed: u64, (device, is_shared): (&Device, bool)) -> StateOptions {
        StateOptions {
            use_8bit: self.recipe.use_8bit_adam,
            stochastic_rounding: self.recipe.stochastic_rounding.then_some(seed),
            place: match self.optimizer_offload {
                _ if self.updates_on_device(is_shared) => StatePlace::Device(device.clone()),
                Offload::Disk => self.scratch_place(),
                Offload::None | Offload::Cpu => StatePlace::Memory,
            },
        }
    }
}

//! What a run takes of the machine, before any weight is loaded: memory part by part and stage by stage, disk, and
//! time; whether that fits; and which settings would.
//!
//! Counted for the CPU. Of a device with memory of its own, weights, activations and what else it holds are told apart,
//! and its memory is not known.

mod choose;
mod disk;
mod stages;
mod state;
#[cfg(test)]
mod tests;
mod text;

use std::ops::Range;

use burn::module::Module;
use cogview4_control_pipeline::{
    PipelineConfigs,
    plan::{Machine, PipelineWeights, Place, Stage},
};
use cogview4_model::{
    CogView4Transformer, CogView4TransformerConfig, ComputeDtype, DeviceSpec, weights::parameter_shapes,
};

use crate::{
    config::TrainConfig,
    error::{Result, TrainError},
};

pub use disk::DiskPart;
pub(crate) use state::gradient_bytes;

/// What a run takes with some settings.
#[derive(Debug, Clone)]
pub struct TrainPlan {
    /// The settings, with what goes to the disk decided.
    pub config: TrainConfig,
    /// The stages, in order; each is told once, however often it comes.
    pub stages: Vec<Stage>,
    /// What is written, as far as it is large.
    pub disk: Vec<DiskPart>,
    /// Bytes of mapped files that a step works with at a time.
    pub working_bytes: u64,
    /// Bytes of the host that the process may have, where the system tells.
    pub limit: Option<u64>,
    /// How long a step takes, where rates are known.
    pub step_seconds: Option<f64>,
}

impl TrainPlan {
    /// The most anonymous memory of the host.
    pub fn peak_host_bytes(&self) -> u64 {
        self.peak(Place::Anonymous)
    }

    /// The most memory of a device that is not the host.
    pub fn peak_device_bytes(&self) -> u64 {
        self.peak(Place::Device)
    }

    /// Bytes that are written, as far as they are large.
    pub fn disk_bytes(&self) -> u64 {
        self.disk.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
    }

    fn peak(&self, place: Place) -> u64 {
        self.stages.iter().map(|stage| stage.bytes(place)).max().unwrap_or_default()
    }

    /// Memory that has to be there: what is held, and what of mapped files is worked with at a time.
    fn needed_bytes(&self) -> u64 {
        self.peak_host_bytes().saturating_add(self.working_bytes)
    }

    /// Whether every stage fits into what there is, and into what the run may have.
    pub fn fits(&self) -> bool {
        self.config.max_memory.is_none_or(|most| self.peak_host_bytes() <= most)
            && self.limit.is_none_or(|limit| self.needed_bytes() <= limit)
            && disk::check_disk(&self.disk).is_ok()
    }
}

/// Makes plans of one run on one machine.
#[derive(Debug, Clone)]
pub struct TrainPlanner {
    configs: PipelineConfigs,
    weights: PipelineWeights,
    /// Rows of the data set, and the steps that are left.
    rows: usize,
    steps: Range<usize>,
    machine: Machine,
    sizes: Sizes,
    processes: Processes,
}

/// Processes that train together: the plan is of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processes {
    /// How many.
    pub size: usize,
    /// How many of them share this machine.
    pub local: usize,
}

/// Numbers of parameters.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    all: u64,
    block: u64,
    largest: u64,
}

impl TrainPlanner {
    /// For a run of these steps on so many rows, with models of these configurations; `weights` are the frozen ones.
    pub fn new(
        configs: PipelineConfigs,
        weights: PipelineWeights,
        rows: usize,
        steps: Range<usize>,
        machine: Machine,
    ) -> Self {
        let sizes = Sizes::of(&configs.transformer);
        Self { configs, weights, rows, steps, machine, sizes, processes: Processes { size: 1, local: 1 } }
    }

    /// Plans for one of several processes, which has its part of what this machine has.
    #[must_use]
    pub fn one_of(mut self, processes: Processes) -> Self {
        let local = processes.local.max(1);
        self.machine.available_bytes = self.machine.available_bytes.map(|bytes| bytes / local as u64);
        self.machine.threads = (self.machine.threads / local).max(1);
        Self { processes, ..self }
    }

    /// Plans for a process that may have so many bytes of the host's memory, whatever this machine has.
    #[must_use]
    pub fn within(mut self, bytes: u64) -> Self {
        self.machine.available_bytes = Some(bytes.saturating_sub(self.machine.held_bytes));
        self
    }

    /// Bytes of the host that the process may have, where the system tells.
    pub fn limit(&self) -> Option<u64> {
        self.machine.limit()
    }

    /// Measures how fast this machine computes; about a second. Plans tell times from then on.
    #[must_use]
    pub fn measured(mut self, config: &TrainConfig) -> Self {
        let width = self.configs.transformer.inner_dim();
        for dtype in [ComputeDtype::Float32, ComputeDtype::BFloat16] {
            self.machine.measure(config.device, dtype, width);
        }
        self
    }

    /// What the run takes with these settings, with what does not fit into `max_memory` put on the disk: the state of
    /// the optimiser first, then gradients, then weights.
    ///
    /// # Errors
    /// An output folder that cannot be read.
    pub fn plan(&self, config: &TrainConfig) -> Result<TrainPlan> {
        let config = self.placed(config);
        Ok(TrainPlan {
            stages: self.stages(&config),
            disk: disk::disk_parts(
                &config,
                &self.configs,
                (self.rows, self.steps.clone()),
                (self.sizes.all, self.processes),
            )?,
            working_bytes: self.working_bytes(&config),
            limit: self.machine.limit(),
            step_seconds: self.step_seconds(&config),
            config,
        })
    }

    /// Whether a run that is asked to stop finds room for a checkpoint.
    pub(crate) fn has_room_to_stop(&self, plan: &TrainPlan) -> bool {
        disk::has_room_to_stop(&plan.config, &plan.disk, self.sizes.all)
    }

    /// The plan of a run that is about to begin.
    ///
    /// # Errors
    /// Too little memory or disk: with the numbers, and the flags that would do.
    pub(crate) fn check(&self, config: &TrainConfig) -> Result<TrainPlan> {
        let plan = self.plan(config)?;
        let setting = match plan.config.max_memory {
            Some(most) if plan.peak_host_bytes() > most => "max_memory",
            _ if plan.limit.is_some_and(|limit| plan.needed_bytes() > limit) => "pretrained_model_name_or_path",
            _ => return disk::check_disk(&plan.disk).map(|()| plan),
        };
        Err(TrainError::setting(setting, self.refusal(config, &plan)))
    }
}

impl Sizes {
    fn of(config: &CogView4TransformerConfig) -> Self {
        // Nothing is allocated for modules that are only initialised.
        let device = DeviceSpec::default().open().expect("invariant: the default device opens");
        let count = |layers: usize| {
            let config = CogView4TransformerConfig { num_layers: layers, ..config.clone() };
            CogView4Transformer::init(&config, &device).num_params() as u64
        };
        let one = CogView4TransformerConfig { num_layers: 1, ..config.clone() };
        let shapes = parameter_shapes(&CogView4Transformer::init(&one, &device));
        let values = |shape: &Vec<usize>| shape.iter().map(|&side| side as u64).product();
        Self {
            all: count(config.num_layers),
            block: count(1) - count(0),
            largest: shapes.iter().map(|(_, shape)| values(shape)).max().unwrap_or_default(),
        }
    }
}

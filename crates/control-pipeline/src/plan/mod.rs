//! What a drawing will take of the machine, before any weight is loaded: memory, part by part and stage by stage, and
//! time; whether that fits; and which settings would.
//!
//! ```no_run
//! use cogview4_control_pipeline::{
//!     CogView4Pipeline, TextRequest,
//!     plan::{DrawingSettings, Placement},
//! };
//!
//! let loader = CogView4Pipeline::from_pretrained("CogView4-6B");
//! let request = TextRequest::new("a red fox").height(512).width(512);
//! let planner = loader.planner(&request)?;
//! let streamed = DrawingSettings { placement: Placement::Streamed, ..loader.settings() };
//! for plan in [planner.plan(&loader.settings()), planner.plan(&streamed)] {
//!     println!("{} bytes of memory, fits: {}", plan.peak_host_bytes(), plan.fits());
//! }
//! # Ok::<(), cogview4_control_pipeline::PipelineError>(())
//! ```

mod choose;
mod machine;
mod settings;
mod stages;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod weights;

use cogview4_model::{ComputeDtype, memory::anonymous_bytes};

use crate::{
    error::{PipelineError, Result},
    pipeline::PipelineConfigs,
};

pub use machine::{Machine, Rates};
pub use settings::{DrawingSettings, Placement, WeightStorage, exact_size};
pub use text::{duration, size, stage_table, stages_json};
pub use weights::{ComponentWeights, PipelineWeights, StoredTensor};

/// Tokens of a prompt, at most, where a request says nothing else.
const LONGEST_PROMPT: usize = 1024;

/// What is drawn, as far as it decides what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawingTask {
    /// Height and width of the pictures, in pixels.
    pub size: [usize; 2],
    /// Pictures, which are drawn in one batch.
    pub images: usize,
    /// Control images, which go through the autoencoder one after another.
    pub controls: usize,
    /// Tokens of each prompt that goes through the text encoder, pads included: those of the prompts, then those of
    /// the negative prompts.
    pub prompts: Vec<usize>,
    /// Tokens of the longest prompt, and of the longest negative prompt where there is guidance.
    pub tokens: (usize, Option<usize>),
    /// Steps of denoising.
    pub steps: usize,
    /// Whether latents are decoded to pictures.
    pub decodes: bool,
}

impl DrawingTask {
    /// One picture of the model's default size, with guidance, and prompts as long as they get.
    pub fn of_default_size(configs: &PipelineConfigs, has_control: bool) -> Self {
        Self {
            size: [configs.default_size(); 2],
            images: 1,
            controls: has_control.into(),
            prompts: vec![LONGEST_PROMPT; 2],
            tokens: (LONGEST_PROMPT, Some(LONGEST_PROMPT)),
            steps: 50,
            decodes: true,
        }
    }
}

/// Where bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The host's memory, for the process alone.
    Anonymous,
    /// Pages of files that are mapped: in memory as long as there is room.
    Mapped,
    /// The memory of a device of its own.
    Device,
}

/// Bytes of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What they are.
    pub name: &'static str,
    /// How many.
    pub bytes: u64,
    /// Where they are.
    pub place: Place,
}

/// A stage of a drawing, at its fullest moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What is done: `load`, `text`, `control image`, `denoise` or `decode`.
    pub name: &'static str,
    /// What is held.
    pub parts: Vec<Part>,
    /// How long it takes, where rates are known.
    pub seconds: Option<f64>,
}

impl Stage {
    /// Bytes of all parts in a place.
    pub fn bytes(&self, place: Place) -> u64 {
        self.parts.iter().filter(|part| part.place == place).map(|part| part.bytes).sum()
    }
}

/// What a drawing takes with some settings.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawingPlan {
    /// The settings.
    pub settings: DrawingSettings,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// Blocks of transformer and text encoder that stay in memory.
    pub resident_blocks: [usize; 2],
    /// Bytes of the host that the process may have, those that it holds already included, where the system tells.
    pub limit: Option<u64>,
}

impl DrawingPlan {
    /// The most anonymous memory of the host.
    pub fn peak_host_bytes(&self) -> u64 {
        self.peak(|stage| stage.bytes(Place::Anonymous))
    }

    /// The most memory of the host, pages of mapped files that a stage works with included.
    pub fn peak_total_bytes(&self) -> u64 {
        self.peak(|stage| stage.bytes(Place::Anonymous) + stage.bytes(Place::Mapped))
    }

    /// The most memory of a device that is not the host.
    pub fn peak_device_bytes(&self) -> u64 {
        self.peak(|stage| stage.bytes(Place::Device))
    }

    fn peak(&self, bytes: impl Fn(&Stage) -> u64) -> u64 {
        self.stages.iter().map(bytes).max().unwrap_or_default()
    }

    /// Whether every stage fits: what it holds and the mapped pages that it works with into what there is, and what it
    /// holds into the budget, if there is one. A device's memory is not known.
    pub fn fits(&self) -> bool {
        let budget = self.settings.placement.budget();
        budget.is_none_or(|budget| self.peak_host_bytes() <= budget)
            && self.limit.is_none_or(|limit| self.peak_total_bytes() <= limit)
    }

    /// Checks the anonymous memory that is held in a stage against the budget, if there is one.
    ///
    /// # Errors
    /// More than the budget: says what the stage was thought to need, part by part.
    pub(crate) fn check_held(&self, stage: &str) -> Result<()> {
        // Without a budget, nobody needs to ask the system.
        let Some(budget) = self.settings.placement.budget() else { return Ok(()) };
        match anonymous_bytes() {
            held if held > budget => Err(PipelineError::Memory(text::exceeded(self, stage, [held, budget]))),
            _ => Ok(()),
        }
    }

    /// How long all takes, where rates are known.
    pub fn seconds(&self) -> Option<f64> {
        self.stages.iter().map(|stage| stage.seconds).sum()
    }
}

/// Makes plans of one drawing with one pipeline on one machine.
#[derive(Debug, Clone)]
pub struct Planner {
    configs: PipelineConfigs,
    weights: PipelineWeights,
    task: DrawingTask,
    machine: Machine,
    /// The process is to have no more than this.
    cap: Option<u64>,
}

impl Planner {
    /// For a pipeline that need not be there.
    pub fn new(configs: PipelineConfigs, weights: PipelineWeights, task: DrawingTask, machine: Machine) -> Self {
        Self { configs, weights, task, machine, cap: None }
    }

    /// Plans for a process that may have so many bytes of the host's memory, or what there is if that is less.
    #[must_use]
    pub fn within(mut self, bytes: u64) -> Self {
        self.cap = Some(bytes);
        self
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Bytes of the host that the process may have in all.
    fn limit(&self) -> Option<u64> {
        [self.machine.limit(), self.cap].into_iter().flatten().min()
    }

    /// Measures what products take with these settings, and with those that they may be changed to; about a second.
    /// Plans tell times from then on.
    #[must_use]
    pub fn measured(mut self, settings: &DrawingSettings) -> Self {
        let sample = self.weights.largest_file();
        let width = self.configs.transformer.inner_dim();
        for dtype in [ComputeDtype::Float32, ComputeDtype::BFloat16] {
            self.machine.measure(settings.device, dtype, width);
        }
        self.machine.measure_reading(sample.as_deref());
        self
    }
}

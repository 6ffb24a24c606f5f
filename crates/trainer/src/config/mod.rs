//! What a run is to do, resolved and checked; written beside every checkpoint.

mod card;
mod recipe;
mod shown;
mod state;
mod trackers;
mod validation;

use std::{collections::BTreeSet, path::PathBuf};

use cogview4_control_pipeline::MAX_GUIDANCE;
use cogview4_hub::{Hub, Source};
use cogview4_model::{ComputeDtype, DeviceSpec};
use serde::Serialize;

use crate::error::{Result, TrainError};

pub use card::CardConfig;
pub use recipe::{CaptionChoice, Recipe, WeightingSigma};
pub(crate) use shown::{shown_folder, shown_location, shown_source};
pub use state::{Offload, ZeroStage};
pub use trackers::{TrackerKind, WandbConfig};
pub use validation::{ValidationConfig, ValidationPair};

/// Pictures are cut into patches of this many pixels, by VAE and transformer together.
const RESOLUTION_MULTIPLE: u32 = 16;
/// Larger pictures are refused, as when generating.
const MAX_RESOLUTION: u32 = 32_768;

/// Counts of any kind; products of two stay far from where numbers wrap.
pub(crate) const MAX_COUNT: usize = i32::MAX as usize;
/// Threads that read ahead, at most.
const MAX_WORKERS: usize = 256;

/// What a run resumes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Resume {
    /// The newest complete checkpoint of the output folder, if there is one.
    Latest,
    /// This checkpoint.
    Checkpoint(#[serde(serialize_with = "shown::path")] PathBuf),
}

/// A run, resolved and checked: [`TrainConfig::new`] has the defaults of the command line, and any field can be
/// changed.
///
/// ```
/// use cogview4_trainer::TrainConfig;
///
/// let mut config = TrainConfig::new("CogView4-6B", "cogview4-control");
/// config.max_train_steps = Some(1000);
/// config.recipe.resolution = 512;
/// config.recipe.schedule.learning_rate = 1e-5;
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct TrainConfig {
    /// The pipeline that is trained on.
    #[serde(serialize_with = "shown::source")]
    pub pretrained_model: Source,
    /// A component, in a folder or on the Hub, that replaces the pipeline's transformer.
    #[serde(serialize_with = "shown::optional_source")]
    pub transformer: Option<Source>,
    /// The variant of the pipeline's weights, such as `fp16`.
    pub variant: Option<String>,
    /// The Hub that names are of.
    #[serde(skip)]
    pub hub: Hub,
    /// Where all files go.
    #[serde(serialize_with = "shown::path")]
    pub output_dir: PathBuf,
    /// Passes over the data, where `max_train_steps` does not say how long.
    pub num_train_epochs: usize,
    /// Optimiser steps of the run.
    pub max_train_steps: Option<usize>,
    /// A checkpoint is written each time this many steps are made.
    pub checkpointing_steps: usize,
    /// Older checkpoints are removed when there are more.
    pub checkpoints_total_limit: Option<usize>,
    /// Whether checkpoints are written while training goes on: what is not written yet is copied before it changes.
    pub background_saves: bool,
    /// What to resume from.
    pub resume: Option<Resume>,
    /// Whether a checkpoint of other settings or data may be resumed from.
    pub allow_config_change: bool,
    /// Threads that read ahead; 0 reads when needed.
    pub dataloader_num_workers: usize,
    /// Where latents and embeddings are kept.
    pub pack: Packing,
    /// Every tensor of the first step's first micro-batch goes here.
    #[serde(serialize_with = "shown::optional_path")]
    pub dump_step: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceSpec,
    /// The peak of the device that `mfu` is held against, in TFLOP/s: from a table of GPUs where it is not given.
    pub peak_tflops: Option<f64>,
    /// The memory that the run may have: what does not fit goes to the disk, the state of the optimiser first, then
    /// gradients, then weights.
    pub max_memory: Option<u64>,
    /// Where masters and moments are kept.
    pub optimizer_offload: Offload,
    /// Folder of files that are gone with the run: `scratch` in the output folder where it is not given.
    #[serde(serialize_with = "shown::optional_path")]
    pub scratch_dir: Option<PathBuf>,
    /// Where the gradients of a step are kept until all are there.
    pub gradient_offload: Offload,
    /// Where the weights that are trained are: on the disk, in the file that becomes the result.
    pub param_offload: Offload,
    /// What several processes divide among them.
    pub zero_stage: ZeroStage,
    /// Whether the text encoder is streamed from its files instead of loaded.
    pub offload: bool,
    /// Whether blocks are computed again in the backward pass, instead of keeping what it needs of them.
    pub gradient_checkpointing: bool,
    /// Type that transformers are saved in.
    pub save_dtype: ComputeDtype,
    /// Seed of all draws; drawn where not given.
    pub seed: Option<u64>,
    /// What is measured, and which pictures are generated, on the way.
    pub validation: ValidationConfig,
    /// The trackers that are written beside `metrics.jsonl` and the report.
    pub report_to: BTreeSet<TrackerKind>,
    /// Folder of TensorBoard's files, in the output folder.
    #[serde(serialize_with = "shown::path")]
    pub logging_dir: PathBuf,
    /// Name of the run for TensorBoard, of the project for W&B.
    pub tracker_project_name: String,
    /// What else W&B is told.
    pub wandb: WandbConfig,
    /// Whether some rows are shown by the trackers and the report.
    pub log_dataset_samples: bool,
    /// Whether progress is shown on standard error, where that is a terminal.
    pub progress_bar: bool,
    /// What the model card says of where things come from.
    pub card: CardConfig,
    /// What decides the numbers.
    pub recipe: Recipe,
}

impl TrainConfig {
    /// A run with the defaults of the command line.
    pub fn new(pretrained_model: impl Into<Source>, output_dir: impl Into<PathBuf>) -> Self {
        Self {
            pretrained_model: pretrained_model.into(),
            transformer: None,
            variant: None,
            hub: Hub::default(),
            output_dir: output_dir.into(),
            num_train_epochs: 1,
            max_train_steps: None,
            checkpointing_steps: 500,
            checkpoints_total_limit: None,
            background_saves: false,
            resume: None,
            allow_config_change: false,
            dataloader_num_workers: 0,
            pack: Packing::OutputDir,
            dump_step: None,
            device: DeviceSpec::default(),
            peak_tflops: None,
            max_memory: None,
            optimizer_offload: Offload::None,
            scratch_dir: None,
            gradient_offload: Offload::None,
            param_offload: Offload::None,
            zero_stage: ZeroStage::default(),
            offload: false,
            gradient_checkpointing: false,
            save_dtype: ComputeDtype::default(),
            seed: None,
            validation: ValidationConfig::default(),
            report_to: [TrackerKind::TensorBoard].into(),
            logging_dir: "logs".into(),
            tracker_project_name: "cogview4_train_control".into(),
            wandb: WandbConfig::default(),
            log_dataset_samples: false,
            progress_bar: true,
            card: CardConfig::default(),
            recipe: Recipe::default(),
        }
    }

    /// Checks what can be checked without files; errors name the setting.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for a value that is out of range.
    pub fn check(&self) -> Result<()> {
        let (recipe, validation) = (&self.recipe, &self.validation);
        let counts = [
            ("train_batch_size", Some(recipe.train_batch_size)),
            ("gradient_accumulation_steps", Some(recipe.gradient_accumulation_steps)),
            ("num_train_epochs", Some(self.num_train_epochs)),
            ("max_train_steps", self.max_train_steps),
            ("checkpointing_steps", Some(self.checkpointing_steps)),
            ("checkpoints_total_limit", self.checkpoints_total_limit),
            ("max_sequence_length", Some(recipe.max_sequence_length)),
            ("lr_num_cycles", Some(recipe.schedule.num_cycles)),
            ("validation_steps", Some(validation.steps)),
            ("num_validation_images", Some(validation.num_validation_images)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == Some(0)) {
            return Err(TrainError::setting(name, "must be at least 1"));
        }
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| count.is_some_and(|count| count > MAX_COUNT)) {
            return Err(TrainError::setting(name, format!("must be at most {MAX_COUNT}")));
        }
        if self.dataloader_num_workers > MAX_WORKERS {
            return Err(TrainError::setting("dataloader_num_workers", format!("must be at most {MAX_WORKERS}")));
        }
        if recipe.resolution == 0
            || recipe.resolution > MAX_RESOLUTION
            || !recipe.resolution.is_multiple_of(RESOLUTION_MULTIPLE)
        {
            let reason =
                format!("{} is not a multiple of {RESOLUTION_MULTIPLE} up to {MAX_RESOLUTION}", recipe.resolution);
            return Err(TrainError::setting("resolution", reason));
        }
        recipe.check()?;
        self.card.check()?;
        if !(-MAX_GUIDANCE..=MAX_GUIDANCE).contains(&validation.guidance_scale) {
            let reason = format!("{} is not a finite number up to {MAX_GUIDANCE}", validation.guidance_scale);
            return Err(TrainError::setting("guidance_scale", reason));
        }
        if self.peak_tflops.is_some_and(|peak| !(peak > 0.0 && peak.is_finite())) {
            return Err(TrainError::setting("peak_tflops", "is not a number above 0"));
        }
        if recipe.train_batch_size.saturating_mul(recipe.gradient_accumulation_steps) > MAX_COUNT {
            let reason = format!("a step would have more than {MAX_COUNT} samples");
            return Err(TrainError::setting("gradient_accumulation_steps", reason));
        }
        if !recipe.control && !validation.pairs.is_empty() {
            return Err(TrainError::setting("validation_image", "a base model is trained, which follows none"));
        }
        if recipe.optimizer_in_backward && !self.gradient_checkpointing {
            let reason = "blocks have gradients one after another only with `gradient_checkpointing`";
            return Err(TrainError::setting("optimizer_in_backward", reason));
        }
        if self.background_saves && [self.optimizer_offload, self.param_offload].contains(&Offload::Disk) {
            let reason = "needs memory for what changes meanwhile, and the state is on the disk for want of memory";
            return Err(TrainError::setting("background_saves", reason));
        }
        if self.param_offload != Offload::None && !self.device.is_cpu() {
            let reason = format!("{} computes with weights in its own memory only", self.device);
            return Err(TrainError::setting("param_offload", reason));
        }
        trackers::check_project(&self.tracker_project_name)?;
        Ok(())
    }

    /// The most floating-point operations a second of the device, as far as that is known.
    pub(crate) fn peak_flops(&self) -> Option<f64> {
        let given = self.peak_tflops.map(|tera| tera * 1e12);
        given.or_else(|| self.device.peak_flops(self.recipe.compute_dtype))
    }

    /// All settings, to be read by people.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("invariant: paths are written as text")
    }

    /// The folder of TensorBoard's files.
    pub(crate) fn tensorboard_folder(&self) -> PathBuf {
        self.output_dir.join(&self.logging_dir).join(&self.tracker_project_name)
    }

    /// The folder of W&B's runs.
    pub(crate) fn wandb_folder(&self) -> PathBuf {
        self.wandb.dir.as_ref().unwrap_or(&self.output_dir).join("wandb")
    }

    /// The folder that holds packs: `pack_dir`, or `pack` in the output folder.
    pub(crate) fn pack_folder(&self) -> Option<PathBuf> {
        match &self.pack {
            Packing::None => None,
            Packing::OutputDir => Some(self.output_dir.join("pack")),
            Packing::Folder(folder) => Some(folder.clone()),
        }
    }
}

/// Where latents and embeddings are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Packing {
    /// Nowhere: they are computed in every step.
    None,
    /// In `pack` of the output folder.
    OutputDir,
    /// In this folder.
    Folder(#[serde(serialize_with = "shown::path")] PathBuf),
}

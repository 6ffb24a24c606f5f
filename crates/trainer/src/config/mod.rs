//! What a run is to do, resolved and checked; written beside every checkpoint.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use cogview4_model::{ComputeDtype, DeviceSpec};
use serde::{Deserialize, Serialize};

use crate::{
    cli::args::Args,
    error::{Result, TrainError},
    optimizer::adamw::AdamWConfig,
    schedule::learning_rate::LrSchedule,
    schedule::timesteps::TimestepDensity,
    stop::StopFlag,
};

/// Pictures are cut into patches of this many pixels, by VAE and transformer together.
const RESOLUTION_MULTIPLE: u32 = 16;

/// What a run goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Resume {
    /// The newest complete checkpoint of the output folder, if there is one.
    Latest,
    /// This checkpoint.
    Checkpoint(PathBuf),
}

/// `--caption_choice`: which of a row's captions is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum CaptionChoice {
    /// Another one each epoch, seeded.
    Random,
    /// The longest.
    Longest,
    /// The first.
    First,
}

/// `--weighting_sigma`: which noise level the loss weighting sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum WeightingSigma {
    /// The one before shifting, as the reference.
    Unshifted,
    /// The one that the sample has.
    Shifted,
}

/// What is drawn while training goes on, and how often is measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValidationConfig {
    /// Measured and drawn each time that this many steps are made, and at the end; measured before the first step too.
    pub steps: usize,
    /// What is drawn; nothing where this is empty.
    pub pairs: Vec<ValidationPair>,
    /// Pictures of each pair.
    pub num_validation_images: usize,
    /// Scale of the guidance, off at 1 and below.
    pub guidance_scale: f64,
}

/// A prompt and the control image that its pictures follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValidationPair {
    /// The prompt.
    pub prompt: String,
    /// Path or URL of the control image, used as it is.
    pub image: String,
}

/// A run, resolved and checked: [`TrainConfig::new`] has the defaults of the command line, and any field can be changed.
///
/// ```
/// use cogview4_trainer::TrainConfig;
///
/// let mut config = TrainConfig::new("CogView4-6B", "cogview4-control");
/// config.max_train_steps = Some(1000);
/// config.numerics.resolution = 512;
/// config.numerics.schedule.learning_rate = 1e-5;
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct TrainConfig {
    /// The pipeline that is trained on.
    pub pretrained_model: PathBuf,
    /// A component folder that replaces the pipeline's transformer.
    pub transformer: Option<PathBuf>,
    /// Where all files go.
    pub output_dir: PathBuf,
    /// Passes over the data, where `max_train_steps` does not say how long.
    pub num_train_epochs: usize,
    /// Optimiser steps of the run.
    pub max_train_steps: Option<usize>,
    /// A checkpoint is written each time this many steps are made.
    pub checkpointing_steps: usize,
    /// Older checkpoints are removed when there are more.
    pub checkpoints_total_limit: Option<usize>,
    /// What to go on from.
    pub resume: Option<Resume>,
    /// Whether a checkpoint of other settings or data may be gone on from.
    pub allow_config_change: bool,
    /// Threads that read ahead; 0 reads when needed.
    pub dataloader_num_workers: usize,
    /// Where latents and embeddings are kept.
    pub pack: Packing,
    /// Every tensor of the first step's first micro-batch goes here.
    pub dump_step: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceSpec,
    /// Whether blocks are computed again in the backward pass, instead of keeping what it needs of them.
    pub gradient_checkpointing: bool,
    /// Type that transformers are saved in.
    pub save_dtype: ComputeDtype,
    /// Seed of all draws; drawn where not given.
    pub seed: Option<u64>,
    /// What is measured and drawn on the way.
    pub validation: ValidationConfig,
    /// Folder of TensorBoard's files, in the output folder; `None` writes none.
    pub logging_dir: Option<PathBuf>,
    /// Name of the run for TensorBoard.
    pub tracker_project_name: String,
    /// Whether some rows are shown by TensorBoard and the report.
    pub log_dataset_samples: bool,
    /// Whether progress is shown on standard error, where that is a terminal.
    pub progress_bar: bool,
    /// What decides the numbers.
    pub numerics: Numerics,
    /// Asks the run to stop, with a checkpoint.
    #[serde(skip)]
    pub stop: StopFlag,
}

impl TrainConfig {
    /// A run with the defaults of the command line.
    pub fn new(pretrained_model: impl Into<PathBuf>, output_dir: impl Into<PathBuf>) -> Self {
        let args = Args::try_parse_from(["train_control_cogview4"]).expect("invariant: no flag is required");
        let config = args.config().expect("invariant: defaults are available");
        Self { pretrained_model: pretrained_model.into(), output_dir: output_dir.into(), ..config }
    }

    /// Checks what can be checked without files; errors name the flag of a value.
    ///
    /// # Errors
    /// [`TrainError::Flag`] for a value that is out of range.
    pub fn check(&self) -> Result<()> {
        let (numerics, validation) = (&self.numerics, &self.validation);
        let at_least_one = [
            ("--train_batch_size", Some(numerics.train_batch_size)),
            ("--gradient_accumulation_steps", Some(numerics.gradient_accumulation_steps)),
            ("--num_train_epochs", Some(self.num_train_epochs)),
            ("--max_train_steps", self.max_train_steps),
            ("--checkpointing_steps", Some(self.checkpointing_steps)),
            ("--checkpoints_total_limit", self.checkpoints_total_limit),
            ("--max_sequence_length", Some(numerics.max_sequence_length)),
            ("--lr_num_cycles", Some(numerics.schedule.num_cycles)),
            ("--validation_steps", Some(validation.steps)),
            ("--num_validation_images", Some(validation.num_validation_images)),
        ];
        if let Some((flag, _)) = at_least_one.into_iter().find(|(_, count)| *count == Some(0)) {
            return Err(TrainError::flag(flag, "must be at least 1"));
        }
        if numerics.resolution == 0 || !numerics.resolution.is_multiple_of(RESOLUTION_MULTIPLE) {
            let reason = format!("{} is not a multiple of {RESOLUTION_MULTIPLE}", numerics.resolution);
            return Err(TrainError::flag("--resolution", reason));
        }
        let parts = [
            ("--proportion_empty_prompts", numerics.proportion_empty_prompts, 1.0),
            ("--adam_beta1", numerics.adam.beta1, 1.0 - f64::EPSILON),
            ("--adam_beta2", numerics.adam.beta2, 1.0 - f64::EPSILON),
        ];
        if let Some((flag, value, _)) = parts.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
            return Err(TrainError::flag(flag, format!("{value} is not between 0 and 1")));
        }
        let not_negative = [
            ("--learning_rate", numerics.schedule.learning_rate),
            ("--adam_weight_decay", numerics.adam.weight_decay),
            ("--adam_epsilon", numerics.adam.epsilon),
            ("--max_grad_norm", numerics.max_grad_norm),
            ("--logit_std", numerics.density.logit_std),
        ];
        if let Some((flag, value)) = not_negative.into_iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return Err(TrainError::flag(flag, format!("{value} is not a number from 0 up")));
        }
        if !numerics.control && !validation.pairs.is_empty() {
            return Err(TrainError::flag("--validation_image", "a base model is trained, which follows none"));
        }
        if !validation.guidance_scale.is_finite() {
            let reason = format!("{} is not a finite number", validation.guidance_scale);
            return Err(TrainError::flag("--guidance_scale", reason));
        }
        Ok(())
    }

    /// All settings, to be read by people.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("invariant: settings are numbers and texts")
    }

    /// The folder of TensorBoard's files.
    pub(crate) fn tensorboard_folder(&self) -> Option<PathBuf> {
        let folder = self.logging_dir.as_ref()?;
        Some(self.output_dir.join(folder).join(&self.tracker_project_name))
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
    Folder(PathBuf),
}

/// Settings that decide the numbers of a run; a resumed run must have the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numerics {
    /// Side of the pictures.
    pub resolution: u32,
    /// Captions are cut to this many tokens.
    pub max_sequence_length: usize,
    /// Samples of a micro-batch.
    pub train_batch_size: usize,
    /// Micro-batches of a step.
    pub gradient_accumulation_steps: usize,
    /// Part of the samples that lose their caption.
    pub proportion_empty_prompts: f64,
    /// Gradients are scaled to this norm at most.
    pub max_grad_norm: f64,
    /// The learning rate.
    pub schedule: LrSchedule,
    /// The optimiser.
    pub adam: AdamWConfig,
    /// Timesteps and loss weights.
    pub density: TimestepDensity,
    /// Which noise level the loss weighting sees.
    pub weighting_sigma: WeightingSigma,
    /// Which of a row's captions is used.
    pub caption_choice: CaptionChoice,
    /// Whether the control latents are drawn.
    pub sample_control_latents: bool,
    /// Whether pads are hidden.
    pub strict_text_mask: bool,
    /// Type of weights and matrix products; parameters and moments are f32 all the same.
    pub compute_dtype: ComputeDtype,
    /// Whether only the blocks and the patch embedding are trained.
    pub only_target_transformer_blocks: bool,
    /// Whether a control model is trained. Without control it is the base model that learns pictures from captions; control
    /// images are not looked at then, though rows have them.
    #[serde(default = "with_control")]
    pub control: bool,
}

fn with_control() -> bool {
    true
}

impl Numerics {
    /// Whether a parameter is trained.
    pub(crate) fn is_trained(&self, key: &str) -> bool {
        !self.only_target_transformer_blocks
            || key.starts_with("transformer_blocks.")
            || key.starts_with("patch_embed.proj.")
    }
}

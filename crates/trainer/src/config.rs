//! What a run is to do, resolved and checked; written beside every checkpoint.

use std::path::PathBuf;

use clap::ValueEnum;
use cogview4_data::Columns;
use cogview4_model::{ComputeDtype, DeviceSpec};
use serde::{Deserialize, Serialize};

use crate::{optimizer::AdamWConfig, schedule::LrSchedule, weighting::TimestepDensity};

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// `--dataset_name`: a parquet file or a folder.
    Dataset(PathBuf),
    /// `--jsonl_for_train`: a file with one JSON object a line.
    Jsonl(PathBuf),
}

/// What a run goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// A run, resolved and checked.
#[derive(Debug, Clone)]
pub struct TrainConfig {
    /// The pipeline that is trained on.
    pub pretrained_model: PathBuf,
    /// Where all files go.
    pub output_dir: PathBuf,
    /// Where rows come from.
    pub data: DataSource,
    /// Names of the columns.
    pub columns: Columns,
    /// Only the first rows, this many.
    pub max_train_samples: Option<usize>,
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
    /// Where latents and embeddings are kept; `None` computes them in every step.
    pub pack_dir: Option<PathBuf>,
    /// Every tensor of the first step's first micro-batch goes here.
    pub dump_step: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceSpec,
    /// Type that transformers are saved in.
    pub save_dtype: ComputeDtype,
    /// Seed of all draws; drawn where not given.
    pub seed: Option<u64>,
    /// What decides the numbers.
    pub numerics: Numerics,
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
}

impl Numerics {
    /// Whether a parameter is trained.
    pub(crate) fn is_trained(&self, key: &str) -> bool {
        !self.only_target_transformer_blocks
            || key.starts_with("transformer_blocks.")
            || key.starts_with("patch_embed.proj.")
    }
}

//! The command line of `train_control_cogview4`: every flag of the reference script, with its name and default. Flags are
//! parsed here and resolved to a [`TrainConfig`]; the run takes only that.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use cogview4_control_pipeline::ControlLatents;
use cogview4_data::Columns;
use cogview4_model::{ComputeDtype, DeviceSpec};

use crate::{
    cli::dataset::{DataConfig, DataSource},
    config::{CaptionChoice, Numerics, Packing, Resume, TrainConfig, ValidationConfig, ValidationPair, WeightingSigma},
    error::{Result, TrainError},
    optimizer::adamw::AdamWConfig,
    schedule::learning_rate::{LrSchedule, LrScheduler},
    schedule::timesteps::{TimestepDensity, WeightingScheme},
    stop::StopFlag,
};

/// Fine-tune a CogView4 Control model on pairs of pictures and control images.
#[derive(Debug, Clone, Parser)]
#[command(name = "train_control_cogview4", args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to train.
    #[command(flatten)]
    pub train: Args,
    /// Something else than training.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be done beside training.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Look at every pair of the data set before training, with the same flags: a table, a page OUTPUT_DIR/check.html, and
    /// a non-zero status when something is wrong
    Check(Box<Args>),
}

/// The flags of a run.
#[derive(Debug, Clone, Parser)]
#[command(name = "train_control_cogview4", rename_all = "snake_case", allow_negative_numbers = true)]
pub struct Args {
    /// Pipeline folder in diffusers layout; a base transformer is widened, a control transformer trained as it is
    #[arg(long)]
    pub pretrained_model_name_or_path: Option<PathBuf>,
    /// Folder that replaces the pipeline's transformer
    #[arg(long)]
    pub transformer: Option<PathBuf>,
    /// Variant of the weight files (not available yet)
    #[arg(long)]
    pub variant: Option<String>,
    /// Revision on the Hub (not available yet)
    #[arg(long)]
    pub revision: Option<String>,
    /// Folder for checkpoints, metrics and the trained transformer
    #[arg(long, default_value = "cogview4-control")]
    pub output_dir: PathBuf,
    /// Folder for downloads (not available yet)
    #[arg(long)]
    pub cache_dir: Option<PathBuf>,
    /// Seed of all draws [default: drawn and recorded]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Side of the pictures in pixels, a multiple of 16
    #[arg(long, default_value_t = 1024)]
    pub resolution: u32,
    /// Captions are cut to this many tokens
    #[arg(long, default_value_t = 128)]
    pub max_sequence_length: usize,
    /// Samples of a micro-batch
    #[arg(long, default_value_t = 4)]
    pub train_batch_size: usize,
    /// Passes over the data, unless --max_train_steps is given
    #[arg(long, default_value_t = 1)]
    pub num_train_epochs: usize,
    /// Optimiser steps of the run
    #[arg(long)]
    pub max_train_steps: Option<usize>,
    /// A checkpoint each time this many steps are made
    #[arg(long, default_value_t = 500)]
    pub checkpointing_steps: usize,
    /// Older checkpoints are removed when there are more
    #[arg(long)]
    pub checkpoints_total_limit: Option<usize>,
    /// `latest`, or the path of a checkpoint
    #[arg(long)]
    pub resume_from_checkpoint: Option<String>,
    /// Part of the samples that lose their caption, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    pub proportion_empty_prompts: f64,
    /// Micro-batches of a step
    #[arg(long, default_value_t = 1)]
    pub gradient_accumulation_steps: usize,
    /// Compute blocks again in the backward pass: less memory, a third more time
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Learning rate after the warm-up
    #[arg(long, default_value_t = 5e-6)]
    pub learning_rate: f64,
    /// Multiply the learning rate by accumulation and batch size
    #[arg(long)]
    pub scale_lr: bool,
    /// Form of the learning-rate schedule
    #[arg(long, value_enum, default_value = "constant")]
    pub lr_scheduler: LrScheduler,
    /// Steps of the warm-up
    #[arg(long, default_value_t = 500)]
    pub lr_warmup_steps: usize,
    /// Cycles of cosine_with_restarts
    #[arg(long, default_value_t = 1)]
    pub lr_num_cycles: usize,
    /// Power of polynomial
    #[arg(long, default_value_t = 1.0)]
    pub lr_power: f64,
    /// 8-bit moments (not available yet)
    #[arg(long)]
    pub use_8bit_adam: bool,
    /// Threads that read ahead; 0 reads when needed
    #[arg(long, default_value_t = 0)]
    pub dataloader_num_workers: usize,
    /// Decay of the first moment
    #[arg(long, default_value_t = 0.9)]
    pub adam_beta1: f64,
    /// Decay of the second moment
    #[arg(long, default_value_t = 0.999)]
    pub adam_beta2: f64,
    /// Weight decay
    #[arg(long, default_value_t = 1e-2)]
    pub adam_weight_decay: f64,
    /// Epsilon of the optimiser
    #[arg(long, default_value_t = 1e-8)]
    pub adam_epsilon: f64,
    /// Gradients are scaled to this norm at most
    #[arg(long, default_value_t = 1.0)]
    pub max_grad_norm: f64,
    /// Push the result to the Hub (not available yet)
    #[arg(long)]
    pub push_to_hub: bool,
    /// Token for the Hub (not available yet)
    #[arg(long)]
    pub hub_token: Option<String>,
    /// Name on the Hub (not available yet)
    #[arg(long)]
    pub hub_model_id: Option<String>,
    /// Folder of TensorBoard's files, in the output folder
    #[arg(long, default_value = "logs")]
    pub logging_dir: PathBuf,
    /// TF32 on CUDA devices (not available yet)
    #[arg(long)]
    pub allow_tf32: bool,
    /// Trackers: `tensorboard`, `all` (that are available), or `none`; metrics.jsonl and report.html are always written
    #[arg(long, default_value = "tensorboard")]
    pub report_to: String,
    /// `no`, or `bf16`: weights and matrix products in bfloat16, with f32 masters
    #[arg(long)]
    pub mixed_precision: Option<String>,
    /// Data set: a parquet file, or a folder of parquet files or of pictures with metadata
    #[arg(long)]
    pub dataset_name: Option<PathBuf>,
    /// Configuration of the data set: a folder in it
    #[arg(long)]
    pub dataset_config_name: Option<String>,
    /// Column of the pictures
    #[arg(long, default_value = "image")]
    pub image_column: String,
    /// Column of the control images
    #[arg(long, default_value = "conditioning_image")]
    pub conditioning_image_column: String,
    /// Column of the captions
    #[arg(long, default_value = "text")]
    pub caption_column: String,
    /// Show some rows of the data set in the trackers and the report
    #[arg(long)]
    pub log_dataset_samples: bool,
    /// Only the first rows, this many
    #[arg(long)]
    pub max_train_samples: Option<usize>,
    /// Prompts that are drawn on the way, one for each validation image or one for all
    #[arg(long, num_args = 1..)]
    pub validation_prompt: Vec<String>,
    /// Control images that the validation follows, used as they are: paths or URLs, one for each prompt or one for all
    #[arg(long, num_args = 1..)]
    pub validation_image: Vec<String>,
    /// Pictures of each pair of prompt and control image
    #[arg(long, default_value_t = 1)]
    pub num_validation_images: usize,
    /// Steps between validations; there is one at the end too
    #[arg(long, default_value_t = 100)]
    pub validation_steps: usize,
    /// Name of the run for trackers
    #[arg(long, default_value = "cogview4_train_control")]
    pub tracker_project_name: String,
    /// Data set: a file with one JSON object a line
    #[arg(long)]
    pub jsonl_for_train: Option<PathBuf>,
    /// Train the transformer blocks and the patch embedding only
    #[arg(long)]
    pub only_target_transformer_blocks: bool,
    /// Guidance of the validation, off at 1 and below
    #[arg(long, default_value_t = 3.5)]
    pub guidance_scale: f64,
    /// Save in float32 what is computed in bfloat16
    #[arg(long)]
    pub upcast_before_saving: bool,
    /// How timesteps are drawn and losses weighed
    #[arg(long, value_enum, default_value = "none")]
    pub weighting_scheme: WeightingScheme,
    /// Mean of logit_normal
    #[arg(long, default_value_t = 0.0)]
    pub logit_mean: f64,
    /// Standard deviation of logit_normal
    #[arg(long, default_value_t = 1.0)]
    pub logit_std: f64,
    /// Scale of mode
    #[arg(long, default_value_t = 1.29)]
    pub mode_scale: f64,
    /// Keep idle models elsewhere (not available yet)
    #[arg(long)]
    pub offload: bool,
    /// Accelerate's YAML (not available yet)
    #[arg(long)]
    pub config_file: Option<PathBuf>,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    pub device: DeviceSpec,
    /// Where latents and embeddings are kept [default: OUTPUT_DIR/pack]
    #[arg(long)]
    pub pack_dir: Option<PathBuf>,
    /// Encode in every step instead
    #[arg(long)]
    pub no_pack: bool,
    /// Write every tensor of the first step's micro-batch to this file
    #[arg(long)]
    pub dump_step: Option<PathBuf>,
    /// Control latents: mean of the posterior (mode), or drawn (sample)
    #[arg(long, default_value = "mode")]
    pub control_latents: ControlLatents,
    /// Hide the pads of captions
    #[arg(long)]
    pub strict_text_mask: bool,
    /// Which of a row's captions is used
    #[arg(long, value_enum, default_value = "random")]
    pub caption_choice: CaptionChoice,
    /// Noise level that the loss weighting sees
    #[arg(long, value_enum, default_value = "unshifted")]
    pub weighting_sigma: WeightingSigma,
    /// Go on from a checkpoint of other settings or data
    #[arg(long)]
    pub allow_config_change: bool,
}

impl Args {
    /// Checks the flags and resolves them.
    ///
    /// # Errors
    /// [`TrainError::Flag`] names the flag that is out of range, does not fit another, or is not available.
    pub fn resolve(self) -> Result<(TrainConfig, DataConfig)> {
        if self.pretrained_model_name_or_path.is_none() {
            return Err(TrainError::flag("--pretrained_model_name_or_path", "give the pipeline to train on"));
        }
        let data = self.data()?;
        let config = self.config()?;
        config.check()?;
        Ok((config, data))
    }

    /// The rows that are asked for.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn data(&self) -> Result<DataConfig> {
        let source = match (&self.dataset_name, &self.jsonl_for_train) {
            (Some(path), None) => DataSource::Dataset(match &self.dataset_config_name {
                Some(name) => path.join(name),
                None => path.clone(),
            }),
            (None, Some(path)) => DataSource::Jsonl(path.clone()),
            (Some(_), Some(_)) => {
                return Err(TrainError::flag("--dataset_name", "cannot be given together with --jsonl_for_train"));
            }
            (None, None) => return Err(TrainError::flag("--dataset_name", "give this or --jsonl_for_train")),
        };
        if self.max_train_samples == Some(0) {
            return Err(TrainError::flag("--max_train_samples", "must be at least 1"));
        }
        let columns = Columns {
            image: self.image_column.clone(),
            conditioning_image: self.conditioning_image_column.clone(),
            caption: self.caption_column.clone(),
        };
        Ok(DataConfig { source, columns, max_train_samples: self.max_train_samples })
    }

    /// The run, without its data.
    pub(crate) fn config(self) -> Result<TrainConfig> {
        self.check_available()?;
        let numerics = self.numerics();
        let save_dtype = if self.upcast_before_saving { ComputeDtype::Float32 } else { numerics.compute_dtype };
        Ok(TrainConfig {
            validation: ValidationConfig {
                steps: self.validation_steps,
                pairs: pairs(self.validation_prompt, self.validation_image)?,
                num_validation_images: self.num_validation_images,
                guidance_scale: self.guidance_scale,
            },
            numerics,
            pretrained_model: self.pretrained_model_name_or_path.unwrap_or_default(),
            transformer: self.transformer,
            num_train_epochs: self.num_train_epochs,
            max_train_steps: self.max_train_steps,
            checkpointing_steps: self.checkpointing_steps,
            checkpoints_total_limit: self.checkpoints_total_limit,
            resume: self.resume_from_checkpoint.map(|value| match value.as_str() {
                "latest" => Resume::Latest,
                path => Resume::Checkpoint(path.into()),
            }),
            allow_config_change: self.allow_config_change,
            dataloader_num_workers: self.dataloader_num_workers,
            pack: match self.pack_dir {
                _ if self.no_pack => Packing::None,
                None => Packing::OutputDir,
                Some(folder) => Packing::Folder(folder),
            },
            dump_step: self.dump_step,
            device: self.device,
            gradient_checkpointing: self.gradient_checkpointing,
            save_dtype,
            seed: self.seed,
            output_dir: self.output_dir,
            logging_dir: (self.report_to != "none").then_some(self.logging_dir),
            tracker_project_name: self.tracker_project_name,
            log_dataset_samples: self.log_dataset_samples,
            progress_bar: true,
            stop: StopFlag::default(),
        })
    }

    fn compute_dtype(&self) -> ComputeDtype {
        if self.mixed_precision.as_deref() == Some("bf16") { ComputeDtype::BFloat16 } else { ComputeDtype::Float32 }
    }

    fn numerics(&self) -> Numerics {
        let scale = match self.scale_lr {
            true => (self.gradient_accumulation_steps * self.train_batch_size) as f64,
            false => 1.0,
        };
        Numerics {
            resolution: self.resolution,
            max_sequence_length: self.max_sequence_length,
            train_batch_size: self.train_batch_size,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            proportion_empty_prompts: self.proportion_empty_prompts,
            max_grad_norm: self.max_grad_norm,
            schedule: LrSchedule {
                scheduler: self.lr_scheduler,
                learning_rate: self.learning_rate * scale,
                warmup_steps: self.lr_warmup_steps,
                num_cycles: self.lr_num_cycles,
                power: self.lr_power,
            },
            adam: AdamWConfig {
                beta1: self.adam_beta1,
                beta2: self.adam_beta2,
                weight_decay: self.adam_weight_decay,
                epsilon: self.adam_epsilon,
            },
            density: TimestepDensity {
                scheme: self.weighting_scheme,
                logit_mean: self.logit_mean,
                logit_std: self.logit_std,
                mode_scale: self.mode_scale,
            },
            weighting_sigma: self.weighting_sigma,
            caption_choice: self.caption_choice,
            sample_control_latents: self.control_latents == ControlLatents::Sample,
            strict_text_mask: self.strict_text_mask,
            compute_dtype: self.compute_dtype(),
            only_target_transformer_blocks: self.only_target_transformer_blocks,
            control: true,
        }
    }

    /// Refuses what is not built yet.
    fn check_available(&self) -> Result<()> {
        let later = [
            ("--variant", self.variant.is_some()),
            ("--revision", self.revision.is_some()),
            ("--cache_dir", self.cache_dir.is_some()),
            ("--use_8bit_adam", self.use_8bit_adam),
            ("--push_to_hub", self.push_to_hub),
            ("--hub_token", self.hub_token.is_some()),
            ("--hub_model_id", self.hub_model_id.is_some()),
            ("--allow_tf32", self.allow_tf32),
            ("--offload", self.offload),
            ("--config_file", self.config_file.is_some()),
        ];
        if let Some((flag, _)) = later.into_iter().find(|(_, given)| *given) {
            return Err(TrainError::flag(flag, "is not available yet"));
        }
        match self.report_to.as_str() {
            "tensorboard" | "all" | "none" => {}
            "wandb" | "comet_ml" => {
                let reason = format!("`{}` is not available, use `tensorboard`", self.report_to);
                return Err(TrainError::flag("--report_to", reason));
            }
            other => return Err(TrainError::flag("--report_to", format!("`{other}` is unknown, use `tensorboard`"))),
        }
        match self.mixed_precision.as_deref() {
            None | Some("no" | "bf16") => Ok(()),
            Some("fp16") => Err(TrainError::flag("--mixed_precision", "`fp16` is not supported, use `bf16` or `no`")),
            Some(other) => {
                Err(TrainError::flag("--mixed_precision", format!("`{other}` is unknown, use `bf16` or `no`")))
            }
        }
    }
}

/// Lines prompts and control images up; one of either serves all of the other.
fn pairs(prompts: Vec<String>, images: Vec<String>) -> Result<Vec<ValidationPair>> {
    if prompts.is_empty() != images.is_empty() {
        let (given, missing) = match prompts.is_empty() {
            true => ("--validation_image", "--validation_prompt"),
            false => ("--validation_prompt", "--validation_image"),
        };
        return Err(TrainError::flag(given, format!("needs {missing} too")));
    }
    if prompts.len() != images.len() && prompts.len() != 1 && images.len() != 1 {
        let reason = format!("{} prompts for {} images, as many or one are needed", prompts.len(), images.len());
        return Err(TrainError::flag("--validation_prompt", reason));
    }
    let pair = |index: usize| ValidationPair {
        prompt: prompts[index % prompts.len()].clone(),
        image: images[index % images.len()].clone(),
    };
    Ok((0..prompts.len().max(images.len())).map(pair).collect())
}

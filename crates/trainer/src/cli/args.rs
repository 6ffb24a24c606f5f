//! The flags of `train_control_cogview4`, as written: every flag of the reference script, with its name. What was not
//! given is `None`; `resolve.rs` lays what was given over the defaults.

use std::path::PathBuf;

use clap::Parser;
use cogview4_cli::ByteSize;
use cogview4_control_pipeline::ControlLatents;
use cogview4_hub::Token;
use cogview4_model::DeviceSpec;

use crate::{
    config::{CaptionChoice, Offload, WeightingSigma},
    schedule::{learning_rate::SchedulerType, timesteps::WeightingScheme},
};

/// The flags of a run.
#[derive(Debug, Clone, Parser)]
#[command(name = "train_control_cogview4", rename_all = "snake_case", allow_negative_numbers = true)]
pub struct Args {
    /// Pipeline, a folder in diffusers layout or a name on the Hub; a base transformer is widened, a control
    /// transformer trained as it is
    #[arg(long)]
    pub pretrained_model_name_or_path: Option<PathBuf>,
    /// Folder, or name on the Hub, that replaces the pipeline's transformer
    #[arg(long)]
    pub transformer: Option<PathBuf>,
    /// Variant of the pipeline's weights, such as fp16: taken of each component that has it
    #[arg(long)]
    pub variant: Option<String>,
    /// Branch, tag or commit of a pipeline that is on the Hub
    #[arg(long)]
    pub revision: Option<String>,
    /// Folder for checkpoints, metrics and the trained transformer [default: cogview4-control]
    #[arg(long)]
    pub output_dir: Option<PathBuf>,
    /// Folder for downloads [default: that of huggingface_hub]
    #[arg(long)]
    pub cache_dir: Option<PathBuf>,
    /// Seed of all draws [default: drawn and recorded]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Side of the pictures in pixels, a multiple of 16 [default: 1024]
    #[arg(long)]
    pub resolution: Option<u32>,
    /// Captions are cut to this many tokens [default: 128]
    #[arg(long)]
    pub max_sequence_length: Option<usize>,
    /// Samples of a micro-batch [default: 4]
    #[arg(long)]
    pub train_batch_size: Option<usize>,
    /// Passes over the data, unless --max_train_steps is given [default: 1]
    #[arg(long)]
    pub num_train_epochs: Option<usize>,
    /// Optimiser steps of the run
    #[arg(long)]
    pub max_train_steps: Option<usize>,
    /// A checkpoint each time this many steps are made [default: 500]
    #[arg(long)]
    pub checkpointing_steps: Option<usize>,
    /// Older checkpoints are removed when there are more
    #[arg(long)]
    pub checkpoints_total_limit: Option<usize>,
    /// Write checkpoints while training goes on: takes memory for what changes before it is written
    #[arg(long)]
    pub background_saves: bool,
    /// `latest`, or the path of a checkpoint
    #[arg(long)]
    pub resume_from_checkpoint: Option<String>,
    /// Part of the samples that lose their caption, 0 to 1 [default: 0.0]
    #[arg(long, allow_hyphen_values = true)]
    pub proportion_empty_prompts: Option<f64>,
    /// Micro-batches of a step [default: 1]
    #[arg(long)]
    pub gradient_accumulation_steps: Option<usize>,
    /// Compute blocks again in the backward pass: less memory, a third more time
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Learning rate after the warm-up [default: 5e-6]
    #[arg(long, allow_hyphen_values = true)]
    pub learning_rate: Option<f64>,
    /// Multiply the learning rate by accumulation and batch size
    #[arg(long)]
    pub scale_lr: bool,
    /// Form of the learning-rate schedule: linear, cosine, cosine_with_restarts, polynomial, constant,
    /// constant_with_warmup [default: constant]
    #[arg(long)]
    pub lr_scheduler: Option<SchedulerType>,
    /// Steps of the warm-up [default: 500]
    #[arg(long)]
    pub lr_warmup_steps: Option<usize>,
    /// Cycles of cosine_with_restarts [default: 1]
    #[arg(long)]
    pub lr_num_cycles: Option<usize>,
    /// Power of polynomial [default: 1.0]
    #[arg(long, allow_hyphen_values = true)]
    pub lr_power: Option<f64>,
    /// Keep the optimiser's moments in 8 bits, as bitsandbytes does
    #[arg(long)]
    pub use_8bit_adam: bool,
    /// Threads that read ahead; 0 reads when needed [default: 0]
    #[arg(long)]
    pub dataloader_num_workers: Option<usize>,
    /// Decay of the first moment [default: 0.9]
    #[arg(long, allow_hyphen_values = true)]
    pub adam_beta1: Option<f64>,
    /// Decay of the second moment [default: 0.999]
    #[arg(long, allow_hyphen_values = true)]
    pub adam_beta2: Option<f64>,
    /// Weight decay [default: 1e-2]
    #[arg(long, allow_hyphen_values = true)]
    pub adam_weight_decay: Option<f64>,
    /// Epsilon of the optimiser [default: 1e-8]
    #[arg(long, allow_hyphen_values = true)]
    pub adam_epsilon: Option<f64>,
    /// Gradients are scaled to this norm at most [default: 1.0]
    #[arg(long, allow_hyphen_values = true)]
    pub max_grad_norm: Option<f64>,
    /// Push the result to the Hub when the run has ended
    #[arg(long)]
    pub push_to_hub: bool,
    /// Token for the Hub, in place of that of the environment
    #[arg(long)]
    pub hub_token: Option<Token>,
    /// Name on the Hub, with its owner or without [default: the name of the output folder]
    #[arg(long)]
    pub hub_model_id: Option<String>,
    /// Folder of TensorBoard's files, in the output folder [default: logs]
    #[arg(long)]
    pub logging_dir: Option<PathBuf>,
    /// Products of f32 matrices in TF32 on `libtorch-cuda`; no effect on other devices
    #[arg(long)]
    pub allow_tf32: bool,
    /// Trackers: `tensorboard`, `wandb` (an offline run in OUTPUT_DIR/wandb), `all` of these, or `none`; metrics.jsonl
    /// and report.html are always written [default: tensorboard]
    #[arg(long)]
    pub report_to: Option<String>,
    /// Run `wandb sync` at the end, where that program is there and logged in
    #[arg(long)]
    pub wandb_sync: bool,
    /// `no`, or `bf16`: weights and matrix products in bfloat16, with f32 masters
    #[arg(long)]
    pub mixed_precision: Option<String>,
    /// Data set: a name on the Hub, a parquet file, or a folder of parquet files or of pictures with metadata
    #[arg(long)]
    pub dataset_name: Option<PathBuf>,
    /// Configuration of the data set, of those in its README.md; without one a folder in it [default: `default`]
    #[arg(long)]
    pub dataset_config_name: Option<String>,
    /// Column of the pictures [default: image]
    #[arg(long)]
    pub image_column: Option<String>,
    /// Column of the control images [default: conditioning_image]
    #[arg(long)]
    pub conditioning_image_column: Option<String>,
    /// Column of the captions [default: text]
    #[arg(long)]
    pub caption_column: Option<String>,
    /// Show some rows of the data set in the trackers and the report
    #[arg(long)]
    pub log_dataset_samples: bool,
    /// Only the first rows, this many
    #[arg(long)]
    pub max_train_samples: Option<usize>,
    /// Prompts that pictures are generated from on the way, one for each validation image or one for all
    #[arg(long, num_args = 1..)]
    pub validation_prompt: Vec<String>,
    /// Control images that the validation follows, used as they are: paths or URLs, one for each prompt or one for all
    #[arg(long, num_args = 1..)]
    pub validation_image: Vec<String>,
    /// Pictures of each pair of prompt and control image [default: 1]
    #[arg(long)]
    pub num_validation_images: Option<usize>,
    /// Steps between validations; there is one at the end too [default: 100]
    #[arg(long)]
    pub validation_steps: Option<usize>,
    /// Name of the run for TensorBoard, of the project for W&B [default: cogview4_train_control]
    #[arg(long)]
    pub tracker_project_name: Option<String>,
    /// Data set: a file with one JSON object a line
    #[arg(long)]
    pub jsonl_for_train: Option<PathBuf>,
    /// Train the transformer blocks and the patch embedding only
    #[arg(long)]
    pub only_target_transformer_blocks: bool,
    /// Guidance of the validation, off at 1 and below [default: 3.5]
    #[arg(long, allow_hyphen_values = true)]
    pub guidance_scale: Option<f64>,
    /// Save in float32 what is computed in bfloat16
    #[arg(long)]
    pub upcast_before_saving: bool,
    /// How timesteps are drawn and losses weighed: sigma_sqrt, logit_normal, mode, cosmap, none [default: none]
    #[arg(long)]
    pub weighting_scheme: Option<WeightingScheme>,
    /// Mean of logit_normal [default: 0.0]
    #[arg(long, allow_hyphen_values = true)]
    pub logit_mean: Option<f64>,
    /// Standard deviation of logit_normal [default: 1.0]
    #[arg(long, allow_hyphen_values = true)]
    pub logit_std: Option<f64>,
    /// Scale of mode [default: 1.29]
    #[arg(long, allow_hyphen_values = true)]
    pub mode_scale: Option<f64>,
    /// Stream the text encoder from its files instead of loading it; frozen models that are idle hold no memory
    #[arg(long)]
    pub offload: bool,
    /// How the frozen text encoder's weights are held: in full, or in 8 bits
    #[arg(long, value_parser = ["int8"])]
    pub weights: Option<String>,
    /// Keep no f32 masters of weights in bfloat16: each step is rounded at random
    #[arg(long)]
    pub stochastic_rounding: bool,
    /// Update each block as soon as its gradients are there, clipped by the norm of the step before
    #[arg(long)]
    pub optimizer_in_backward: bool,
    /// Peak of the device in TFLOP/s, which `mfu` in metrics.jsonl is a part of [default: a GPU's, from a table]
    #[arg(long, value_name = "T")]
    pub peak_tflops: Option<f64>,
    /// Memory that the run may have, such as 12GiB: what does not fit is in files, of which the system keeps in memory what
    /// it has room for
    #[arg(long, value_name = "SIZE")]
    pub max_memory: Option<ByteSize>,
    /// Choose the flags that cost least for a run that holds no more than this memory, such as 20GiB; with `plan`, on any
    /// machine that has as much
    #[arg(long, value_name = "SIZE")]
    pub fit: Option<ByteSize>,
    /// Where masters and moments are kept: none, cpu, disk [default: none]
    #[arg(long)]
    pub optimizer_offload: Option<Offload>,
    /// Where the gradients of a step are kept until all are there: none, cpu, disk [default: none]
    #[arg(long)]
    pub gradient_offload: Option<Offload>,
    /// Where the weights that are trained are: none, cpu, or disk, in the file that becomes the result [default: none]
    #[arg(long)]
    pub param_offload: Option<Offload>,
    /// Folder of files that are gone with the run [default: OUTPUT_DIR/scratch]
    #[arg(long)]
    pub scratch_dir: Option<PathBuf>,
    /// Accelerate's YAML: its values stand in for flags that are not given
    #[arg(long)]
    pub config_file: Option<PathBuf>,
    /// Processes that train together, as many as are started [default: num_processes of the YAML, else all]
    #[arg(long)]
    pub num_processes: Option<usize>,
    /// What processes divide besides masters and moments (ZeRO): 1 nothing more, 2 gradients as they come [default: 2]
    #[arg(long, value_parser = ["0", "1", "2"])]
    pub zero_stage: Option<String>,
    /// Seconds that processes wait for one another in a collective [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub collective_timeout: Option<u64>,
    /// Device to compute on [default: flex]
    #[arg(long)]
    pub device: Option<DeviceSpec>,
    /// Where latents and embeddings are kept [default: OUTPUT_DIR/pack]
    #[arg(long)]
    pub pack_dir: Option<PathBuf>,
    /// Encode in every step instead
    #[arg(long)]
    pub no_pack: bool,
    /// Write every tensor of the first step's micro-batch to this file
    #[arg(long)]
    pub dump_step: Option<PathBuf>,
    /// Control latents: mean of the posterior (mode), or drawn (sample) [default: mode]
    #[arg(long)]
    pub control_latents: Option<ControlLatents>,
    /// Hide the pads of captions
    #[arg(long)]
    pub strict_text_mask: bool,
    /// Which of a row's captions is used: random, longest, first [default: random]
    #[arg(long)]
    pub caption_choice: Option<CaptionChoice>,
    /// Noise level that the loss weighting sees: unshifted, shifted [default: unshifted]
    #[arg(long)]
    pub weighting_sigma: Option<WeightingSigma>,
    /// Resume from a checkpoint of other settings or data
    #[arg(long)]
    pub allow_config_change: bool,
}

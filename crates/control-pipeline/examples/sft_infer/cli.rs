//! The flags, as written.

use std::path::PathBuf;

use clap::Parser;
use cogview4_cli::ByteSize;
use cogview4_control_pipeline::{ControlLatents, demo};
use cogview4_model::{ComputeDtype, DeviceSpec};

/// Generate a picture with a CogView4 Control model.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case", allow_negative_numbers = true)]
pub(crate) struct Cli {
    /// Pipeline, a folder in diffusers layout or a name on the Hub [default: the embedded demo]
    #[arg(long)]
    pub(crate) pretrained_model_name_or_path: Option<String>,
    /// Folder, or name on the Hub, that replaces the pipeline's transformer
    #[arg(long)]
    pub(crate) transformer: Option<String>,
    /// Variant of the pipeline's weights, such as fp16: taken of each component that has it
    #[arg(long)]
    pub(crate) variant: Option<String>,
    /// Branch, tag or commit of a pipeline that is on the Hub
    #[arg(long)]
    pub(crate) revision: Option<String>,
    /// Folder for downloads [default: that of huggingface_hub]
    #[arg(long)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Path or URL of the control image [default: the demo's drawing]
    #[arg(long)]
    pub(crate) control_image: Option<String>,
    /// What is done to the control image before the pipeline
    #[arg(long, default_value = "canny", value_parser = ["canny", "none"])]
    pub(crate) processor: String,
    /// Canny: gradients up to this are no edges
    #[arg(long, default_value_t = 50.0, allow_hyphen_values = true)]
    pub(crate) low_threshold: f64,
    /// Canny: gradients above this are edges
    #[arg(long, default_value_t = 200.0, allow_hyphen_values = true)]
    pub(crate) high_threshold: f64,
    /// Canny: short side when edges are looked for [default: the smaller of height and width]
    #[arg(long)]
    pub(crate) detect_resolution: Option<u32>,
    /// Canny: short side of the edge picture [default: the smaller of height and width]
    #[arg(long)]
    pub(crate) image_resolution: Option<u32>,
    /// What the picture shows
    #[arg(long, default_value = demo::PROMPT)]
    pub(crate) prompt: String,
    /// What the picture should not show
    #[arg(long, default_value = "")]
    pub(crate) negative_prompt: String,
    /// Height in pixels, a multiple of 16 [default: the model's]
    #[arg(long)]
    pub(crate) height: Option<usize>,
    /// Width in pixels, a multiple of 16 [default: the model's]
    #[arg(long)]
    pub(crate) width: Option<usize>,
    /// Number of denoising steps
    #[arg(long, default_value_t = 50)]
    pub(crate) num_inference_steps: usize,
    /// Scale of the classifier-free guidance, off at 1 and below
    #[arg(long, default_value_t = 3.5, allow_hyphen_values = true)]
    pub(crate) guidance_scale: f64,
    /// Number of pictures; their files get -1, -2, ... before the extension
    #[arg(long, default_value_t = 1)]
    pub(crate) num_images_per_prompt: usize,
    /// Longer prompts are cut to this many tokens
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_sequence_length: usize,
    /// Control latents: mean of the posterior, or a seeded draw
    #[arg(long, default_value = "mode")]
    pub(crate) control_latents: ControlLatents,
    /// Hide the pads of the prompt from the picture
    #[arg(long)]
    pub(crate) strict_text_mask: bool,
    /// Seed: the same draws as torch.Generator("cpu").manual_seed
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Initial noise: safetensors with a tensor `latents` [default: drawn]
    #[arg(long)]
    pub(crate) latents: Option<PathBuf>,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    pub(crate) device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    pub(crate) dtype: ComputeDtype,
    /// How the blocks' weights are held: as the number type says, or in 8 bits
    #[arg(long, value_parser = ["int8"])]
    pub(crate) weights: Option<String>,
    /// Stream the weights: read blocks from their files before each use, so that two of them are in memory
    #[arg(long)]
    pub(crate) offload: bool,
    /// Keep as many blocks in memory as fit into this size for the whole process, stream the others
    #[arg(long)]
    pub(crate) max_memory: Option<ByteSize>,
    /// Side of the tiles, in pixels, that a picture goes through the autoencoder in [default: whole]
    #[arg(long)]
    pub(crate) vae_tiling: Option<usize>,
    /// Show what the drawing would take of this machine, and the cheapest flags that fit; draw nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Take the cheapest flags that fit into this size of memory
    #[arg(long)]
    pub(crate) fit: Option<ByteSize>,
    /// The picture to write
    #[arg(long, default_value = "cogview4.png")]
    pub(crate) output: PathBuf,
    /// Also write the final latents before decoding
    #[arg(long)]
    pub(crate) output_latents: Option<PathBuf>,
    /// Also write the control image as given to the pipeline
    #[arg(long)]
    pub(crate) output_control: Option<PathBuf>,
}

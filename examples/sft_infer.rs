//! Generates a picture that follows the edges of a control image; without flags, with the demo pipeline.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use cogview4::hub::{Hub, Source};
use cogview4::model::weights::{load_tensor, save_tensors};
use cogview4::model::{ComputeDtype, DeviceSpec, files::check_writable, memory::MemoryMeter};
use cogview4::pipeline::{Placement, check_image_output, numbered};
use cogview4::{CannyDetector, CogView4ControlPipeline, ControlLatents, ControlRequest, demo};
use cogview4::{load_image, open_image, save_image};
use cogview4_cli::{note, run_main};

/// Generate a picture with a CogView4 Control model.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case", allow_negative_numbers = true)]
struct Cli {
    /// Pipeline, a folder in diffusers layout or a name on the Hub [default: the embedded demo]
    #[arg(long)]
    pretrained_model_name_or_path: Option<String>,
    /// Folder, or name on the Hub, that replaces the pipeline's transformer
    #[arg(long)]
    transformer: Option<String>,
    /// Variant of the pipeline's weights, such as fp16: taken of each component that has it
    #[arg(long)]
    variant: Option<String>,
    /// Branch, tag or commit of a pipeline that is on the Hub
    #[arg(long)]
    revision: Option<String>,
    /// Folder for downloads [default: that of huggingface_hub]
    #[arg(long)]
    cache_dir: Option<PathBuf>,
    /// Path or URL of the control image [default: the demo's drawing]
    #[arg(long)]
    control_image: Option<String>,
    /// What is done to the control image before the pipeline
    #[arg(long, default_value = "canny", value_parser = ["canny", "none"])]
    processor: String,
    /// Canny: gradients up to this are no edges
    #[arg(long, default_value_t = 50.0)]
    low_threshold: f64,
    /// Canny: gradients above this are edges
    #[arg(long, default_value_t = 200.0)]
    high_threshold: f64,
    /// Canny: short side when edges are looked for [default: the smaller of height and width]
    #[arg(long)]
    detect_resolution: Option<u32>,
    /// Canny: short side of the edge picture [default: the smaller of height and width]
    #[arg(long)]
    image_resolution: Option<u32>,
    /// What the picture shows
    #[arg(long, default_value = demo::PROMPT)]
    prompt: String,
    /// What the picture should not show
    #[arg(long, default_value = "")]
    negative_prompt: String,
    /// Height in pixels, a multiple of 16 [default: the model's]
    #[arg(long)]
    height: Option<usize>,
    /// Width in pixels, a multiple of 16 [default: the model's]
    #[arg(long)]
    width: Option<usize>,
    /// Number of denoising steps
    #[arg(long, default_value_t = 50)]
    num_inference_steps: usize,
    /// Scale of the classifier-free guidance, off at 1 and below
    #[arg(long, default_value_t = 3.5)]
    guidance_scale: f64,
    /// Number of pictures; their files get -1, -2, ... before the extension
    #[arg(long, default_value_t = 1)]
    num_images_per_prompt: usize,
    /// Longer prompts are cut to this many tokens
    #[arg(long, default_value_t = 1024)]
    max_sequence_length: usize,
    /// Control latents: mean of the posterior, or a seeded draw
    #[arg(long, default_value = "mode")]
    control_latents: ControlLatents,
    /// Hide the pads of the prompt from the picture
    #[arg(long)]
    strict_text_mask: bool,
    /// Seed: the same draws as torch.Generator("cpu").manual_seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Initial noise: safetensors with a tensor `latents` [default: drawn]
    #[arg(long)]
    latents: Option<PathBuf>,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    dtype: ComputeDtype,
    /// Stream the weights: read blocks from their files before each use, so that two of them are in memory
    #[arg(long)]
    offload: bool,
    /// The picture to write
    #[arg(long, default_value = "cogview4.png")]
    output: PathBuf,
    /// Also write the final latents before decoding
    #[arg(long)]
    output_latents: Option<PathBuf>,
    /// Also write the control image as given to the pipeline
    #[arg(long)]
    output_control: Option<PathBuf>,
}

fn main() -> ExitCode {
    run_main(run)
}

fn run(cli: Cli) -> Result<()> {
    let (start, memory) = (Instant::now(), MemoryMeter::start());
    // Everything that can be wrong is looked at before the weights are loaded.
    let outputs = numbered(&cli.output, cli.num_images_per_prompt);
    outputs.iter().chain(&cli.output_control).try_for_each(|path| check_image_output(path))?;
    cli.output_latents.iter().try_for_each(|path| check_writable(path))?;
    let image = match &cli.control_image {
        Some(location) => load_image(location).context("--control_image")?,
        None => open_image(demo::control_image())?,
    };
    let source = cli.pretrained_model_name_or_path.map_or_else(|| demo::pipeline().into(), Source::from);
    if let (Source::Folder(_), Some(_)) = (&source, &cli.revision) {
        bail!("--revision: only pipelines on the Hub have revisions");
    }
    let hub = match cli.cache_dir {
        Some(folder) => Hub::from_env().with_cache_dir(folder),
        None => Hub::from_env(),
    };
    let mut pipe = CogView4ControlPipeline::from_pretrained(source.with_revision(cli.revision))
        .hub(hub)
        .device(cli.device)
        .dtype(cli.dtype)
        .placement(if cli.offload { Placement::Streamed } else { Placement::Resident });
    if let Some(transformer) = cli.transformer {
        pipe = pipe.transformer(transformer.as_str());
    }
    if let Some(variant) = cli.variant {
        pipe = pipe.variant(variant);
    }
    let size = pipe.default_size()?;
    let [height, width] = [cli.height, cli.width].map(|side| side.unwrap_or(size));
    let request = ControlRequest::new(cli.prompt, image.clone())
        .negative_prompt(cli.negative_prompt)
        .height(height)
        .width(width)
        .num_inference_steps(cli.num_inference_steps)
        .guidance_scale(cli.guidance_scale)
        .num_images_per_prompt(cli.num_images_per_prompt)
        .max_sequence_length(cli.max_sequence_length)
        .control_latents(cli.control_latents)
        .strict_text_mask(cli.strict_text_mask)
        .seed(cli.seed);
    request.check()?;
    let short_side = height.min(width).max(64) as u32;
    let canny = CannyDetector {
        low_threshold: cli.low_threshold,
        high_threshold: cli.high_threshold,
        detect_resolution: cli.detect_resolution.unwrap_or(short_side),
        image_resolution: cli.image_resolution.unwrap_or(short_side),
    };
    let control_image = if cli.processor == "canny" { canny.detect(&image)? } else { image };
    let mut request = request.control_image(control_image.clone());
    if let Some(path) = &cli.latents {
        request = request.latents(load_tensor(path, "latents", &cli.device.open()?).context("--latents")?);
    }

    let output = pipe.load()?.generate(&request)?;
    cli.output_control.iter().try_for_each(|path| save_image(&control_image, path))?;
    cli.output_latents.iter().try_for_each(|path| save_tensors(path, [("latents", output.latents.to_data())]))?;
    for (image, path) in output.images.iter().zip(&outputs) {
        save_image(image, path)?;
        note(&format!("wrote {}", path.display()));
    }
    note(&taken(start, &memory));
    Ok(())
}

/// What the run took, in words; of memory where the system tells.
fn taken(start: Instant, memory: &MemoryMeter) -> String {
    let seconds = start.elapsed().as_secs_f64();
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    match memory.peak() {
        0 => format!("{seconds:.1} s"),
        peak => format!(
            "{seconds:.1} s; at most {:.2} GB of memory, and {:.2} GB of mapped files",
            gigabytes(peak),
            gigabytes(memory.peak_mapped())
        ),
    }
}

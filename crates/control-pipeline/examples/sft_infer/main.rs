//! Generates a picture that follows the edges of a control image; without flags, with the demo pipeline.

mod cli;
mod plan;

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result, bail};
use cogview4_cli::{note, run_main};
use cogview4_control_pipeline::{
    CannyDetector, CogView4ControlPipeline, Control, ControlRequest, PipelineLoader, check_image_output, demo,
    load_image, numbered, open_image, save_image,
};
use cogview4_hub::{Hub, Source};
use cogview4_model::files::check_writable;
use cogview4_model::memory::{MemoryMeter, name_cut_files};
use cogview4_model::weights::{load_tensor, save_tensors};

use self::cli::Cli;

fn main() -> ExitCode {
    name_cut_files();
    run_main(run)
}

fn run(cli: Cli) -> Result<()> {
    let (start, memory) = (Instant::now(), MemoryMeter::start());
    // Everything that can be wrong is looked at before the weights are loaded.
    plan::check(&cli)?;
    let outputs = numbered(&cli.output, cli.num_images_per_prompt);
    if !cli.plan {
        outputs.iter().chain(&cli.output_control).try_for_each(|path| check_image_output(path))?;
        cli.output_latents.iter().try_for_each(|path| check_writable(path))?;
    }
    let image = match &cli.control_image {
        Some(location) => load_image(location).context("--control_image")?,
        None => open_image(demo::control_image())?,
    };
    let pipe = loader(&cli)?;
    let size = pipe.default_size()?;
    let [height, width] = [cli.height, cli.width].map(|side| side.unwrap_or(size));
    let request = ControlRequest::new(cli.prompt.as_str(), image.clone())
        .negative_prompt(cli.negative_prompt.as_str())
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
    let planner = pipe.planner(&request)?;
    if cli.plan {
        return plan::show(&cli, planner);
    }
    let plan = plan::choose(&cli, planner)?;
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

    let output = pipe.load_as(plan)?.generate(&request)?;
    cli.output_control.iter().try_for_each(|path| save_image(&control_image, path))?;
    cli.output_latents.iter().try_for_each(|path| save_tensors(path, [("latents", output.latents.to_data())]))?;
    for (image, path) in output.images.iter().zip(&outputs) {
        save_image(image, path)?;
        note(&format!("wrote {}", path.display()));
    }
    note(&taken(start, &memory));
    Ok(())
}

/// The pipeline, not loaded yet.
fn loader(cli: &Cli) -> Result<PipelineLoader<Control>> {
    let source = cli.pretrained_model_name_or_path.clone().map_or_else(|| demo::pipeline().into(), Source::from);
    if let (Source::Folder(_), Some(_)) = (&source, &cli.revision) {
        bail!("--revision: only pipelines on the Hub have revisions");
    }
    let hub = match &cli.cache_dir {
        Some(folder) => Hub::from_env().with_cache_dir(folder),
        None => Hub::from_env(),
    };
    let mut pipe = CogView4ControlPipeline::from_pretrained(source.with_revision(cli.revision.clone()))
        .hub(hub)
        .device(cli.device)
        .dtype(cli.dtype);
    if let Some(transformer) = &cli.transformer {
        pipe = pipe.transformer(transformer.as_str());
    }
    if let Some(variant) = &cli.variant {
        pipe = pipe.variant(variant);
    }
    Ok(pipe)
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

//! Times sampling with the demo pipeline: `cargo run --release --example bench_sampling -- --repeats 3`.
//!
//! Prompt encoding, control encoding, denoising and decoding are timed, loading is not. One untimed warm-up; the last
//! line printed is a JSON object. `scripts/reference/bench_sampling.py` runs it in turn with diffusers.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use cogview4::{CogView4ControlPipeline, ControlRequest, demo, model::DeviceSpec, open_image};
use cogview4_cli::run_main;

/// Side of the picture in pixels.
const SIDE: usize = 256;

/// Time sampling with a pipeline.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Cli {
    /// Pipeline folder in diffusers layout [default: the demo]
    #[arg(long)]
    pretrained_model_name_or_path: Option<PathBuf>,
    /// Number of denoising steps
    #[arg(long, default_value_t = 50)]
    num_inference_steps: usize,
    /// Timed runs
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
}

fn main() -> ExitCode {
    run_main(run)
}

#[expect(clippy::print_stdout, reason = "the result is for other programs")]
fn run(cli: Cli) -> Result<()> {
    ensure!(cli.repeats > 0, "--repeats: must be at least 1");
    let folder = cli.pretrained_model_name_or_path.unwrap_or_else(demo::pipeline);
    let pipe = CogView4ControlPipeline::from_pretrained(folder).device(cli.device).progress_bar(false).load()?;
    // The drawing itself is the control image, so that both sides begin with the same bytes.
    let request = ControlRequest::new(demo::PROMPT, open_image(demo::control_image())?)
        .height(SIDE)
        .width(SIDE)
        .num_inference_steps(cli.num_inference_steps)
        .guidance_scale(3.5);
    pipe.generate(&request)?;
    let mut seconds = Vec::with_capacity(cli.repeats);
    for _ in 0..cli.repeats {
        let start = Instant::now();
        pipe.generate(&request)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let (min, median, max) = (seconds[0], seconds[cli.repeats / 2], seconds[cli.repeats - 1]);
    println!(r#"{{"median_s": {median:.4}, "min_s": {min:.4}, "max_s": {max:.4}}}"#);
    Ok(())
}

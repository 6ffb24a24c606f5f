//! Times the transformer at the released model's sizes, with random weights:
//! `cargo run --release --example bench_transformer -- --mode train --gradient_checkpointing`.
//!
//! One untimed warm-up; `train` is loss and backward to all parameters. The last line printed is a JSON object.
//! `scripts/reference/bench_transformer.py` runs it in turn with diffusers.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use cogview4::model::{CogView4TransformerConfig, ComputeDtype, DeviceSpec, ops};
use cogview4::trainer::bench::{TransformerBench, peak_memory_bytes};
use cogview4_cli::run_main;

/// Time the transformer.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Cli {
    /// Number of blocks; the released model has 28
    #[arg(long, default_value_t = 2)]
    num_layers: usize,
    /// Height in pixels, a multiple of 16
    #[arg(long, default_value_t = 512)]
    height: usize,
    /// Width in pixels, a multiple of 16
    #[arg(long, default_value_t = 512)]
    width: usize,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 64)]
    text_tokens: usize,
    /// Samples
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// What is timed
    #[arg(long, value_enum, default_value = "forward")]
    mode: Mode,
    /// Compute blocks again in the backward pass
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Stream the weights from a temporary file; of forward passes only
    #[arg(long)]
    offload: bool,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    dtype: ComputeDtype,
    /// On libtorch's CPU, take its own operations where there are kernels of ours, as on a GPU
    #[arg(long)]
    library_kernels: bool,
    /// Timed runs
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Mode {
    Forward,
    Train,
}

fn main() -> ExitCode {
    run_main(run)
}

#[expect(clippy::print_stdout, reason = "the result is for other programs")]
fn run(cli: Cli) -> Result<()> {
    ensure!(!cli.offload || cli.mode == Mode::Forward, "--offload: what is trained is not streamed");
    for (flag, count) in [("--num_layers", cli.num_layers), ("--batch", cli.batch), ("--repeats", cli.repeats)] {
        ensure!(count > 0, "{flag}: must be at least 1");
    }
    ensure!(cli.text_tokens > 0, "--text_tokens: must be at least 1");
    for (flag, side) in [("--height", cli.height), ("--width", cli.width)] {
        ensure!(side > 0 && side.is_multiple_of(16), "{flag}: {side} is not a multiple of 16");
    }
    ops::set_host_kernels(!cli.library_kernels);
    let config = CogView4TransformerConfig {
        num_layers: cli.num_layers,
        num_attention_heads: 32,
        attention_head_dim: 128,
        ..CogView4TransformerConfig::default()
    };
    let size = [cli.batch, cli.height, cli.width, cli.text_tokens];
    let mut bench = TransformerBench::new(&config, size, cli.dtype, &cli.device.open()?);
    bench = bench.keeping_gradients(!cli.device.is_cpu());
    let folder = tempfile::tempdir().context("--offload")?;
    if cli.offload {
        bench = bench.stream_from(folder.path())?;
    }
    let run = || match cli.mode {
        Mode::Forward => bench.forward(),
        Mode::Train => bench.train(cli.gradient_checkpointing),
    };
    run()?;
    let mut seconds = Vec::with_capacity(cli.repeats);
    for _ in 0..cli.repeats {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let result = serde_json::json!({
        "median_s": seconds[cli.repeats / 2],
        "min_s": seconds[0],
        "max_s": seconds[cli.repeats - 1],
        "peak_rss_bytes": peak_memory_bytes(),
        "device": cli.device.to_string(),
        "dtype": cli.dtype.to_string(),
        "mode": if cli.mode == Mode::Forward { "forward" } else { "train" },
    });
    println!("{result}");
    Ok(())
}

//! Times the released autoencoder's shape, with random weights: `cargo run --release --example bench_autoencoder`.
//!
//! One untimed warm-up at a quarter of the side. The last line printed is a JSON object.
//! `scripts/reference/bench_autoencoder.py` runs it in turn with diffusers.

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, ensure};
use burn::tensor::{DType, Distribution, Tensor};
use clap::Parser;
use cogview4::model::{AutoencoderKl, AutoencoderKlConfig, ComputeDtype, DeviceSpec, weights::cast_parameters};
use cogview4::trainer::bench::peak_memory_bytes;
use cogview4_cli::run_main;

/// Time encoding and decoding.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Cli {
    /// Height and width in pixels, a multiple of 32
    #[arg(long, default_value_t = 512)]
    side: usize,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    dtype: ComputeDtype,
}

fn main() -> ExitCode {
    run_main(run)
}

#[expect(clippy::print_stdout, reason = "the result is for other programs")]
fn run(cli: Cli) -> Result<()> {
    ensure!(cli.side > 0 && cli.side.is_multiple_of(32), "--side: {} is not a multiple of 32", cli.side);
    let mut config = AutoencoderKlConfig::default();
    config.block_out_channels = vec![128, 512, 1024, 1024];
    config.layers_per_block = 3;
    config.latent_channels = 16;
    config.use_quant_conv = false;
    config.use_post_quant_conv = false;
    let device = cli.device.open()?;
    let vae = cast_parameters(AutoencoderKl::init(&config, &device), cli.dtype.dtype());
    let normal =
        |shape: [usize; 4]| Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&device, cli.dtype.dtype()));
    let encode = |side: usize| vae.encode(normal([1, 3, side, side])).mode();
    let decode = |side: usize| vae.decode(normal([1, config.latent_channels, side / 8, side / 8]));
    finish(encode(cli.side / 4));
    finish(decode(cli.side / 4));
    let seconds = |work: &dyn Fn(usize) -> Tensor<4>| {
        let start = Instant::now();
        finish(work(cli.side));
        start.elapsed().as_secs_f64()
    };
    let result = serde_json::json!({
        "encode_s": seconds(&encode),
        "decode_s": seconds(&decode),
        "peak_rss_bytes": peak_memory_bytes(),
        "device": cli.device.to_string(),
        "dtype": cli.dtype.to_string(),
    });
    println!("{result}");
    Ok(())
}

/// Waits for a result.
fn finish(tensor: Tensor<4>) {
    let _: f32 = tensor.cast(DType::F32).sum().into_scalar();
}

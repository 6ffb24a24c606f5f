//! Memory of the attention's forward and backward by length of the sequence:
//! `cargo run --release --example bench_attention -- --seq 8192 --device libtorch`.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use burn::tensor::{Distribution, Tensor};
use clap::Parser;
use cogview4::model::{
    ComputeDtype, DeviceSpec,
    ops::{AttentionMask, attention},
};
use cogview4::trainer::bench::peak_memory_bytes;
use cogview4_cli::run_main;

/// Measure the attention.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Cli {
    /// Length of the sequence
    #[arg(long, default_value_t = 4096)]
    seq: usize,
    /// Heads of 128 values
    #[arg(long, default_value_t = 8)]
    heads: usize,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Number type
    #[arg(long, default_value = "float32")]
    dtype: ComputeDtype,
}

fn main() -> ExitCode {
    run_main(run)
}

#[expect(clippy::print_stdout, reason = "the result is for other programs")]
fn run(cli: Cli) -> Result<()> {
    let (device, dtype) = (cli.device.open()?, cli.dtype.dtype());
    let shape = [1, cli.heads, cli.seq, 128];
    let normal = || Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), (&device, dtype));
    let [query, key, value, weights] = [(); 4].map(|()| normal());
    let before = peak_memory_bytes();
    let start = Instant::now();
    let leaves = [query, key, value].map(|tensor| Tensor::from_inner(tensor).require_grad());
    let [query, key, value] = leaves.clone();
    let output = attention(query, key, value, &AttentionMask::None);
    let gradients = (output * Tensor::from_inner(weights)).sum().backward();
    for leaf in leaves {
        let _ = leaf.grad(&gradients).map(|gradient| gradient.sum().into_scalar::<f32>());
    }
    let result = serde_json::json!({
        "seq": cli.seq,
        "seconds": start.elapsed().as_secs_f64(),
        "memory_bytes": peak_memory_bytes() - before,
        "device": cli.device.to_string(),
    });
    println!("{result}");
    Ok(())
}

//! Predicts how training the released CogView4-6B with ZeRO-2 scales over cards and nodes: time of a step, samples a
//! second, utilisation, bytes, operations and memory of each rank. `docs/scaling.md` has its tables.
//!
//! `cargo run --example scaling` prints them. `cargo run --example scaling -- --measured ONE TWO FOUR` holds measured
//! runs of 1, 2, 4, ... processes (their `metrics.jsonl`) against what the same simulation predicts of them.

mod calibrate;
mod collective;
mod hardware;
mod limits;
mod measured;
mod memory;
mod model;
mod predict;
mod simulate;
mod text;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};
use clap::Parser;
use cogview4::model::CogView4TransformerConfig;
use cogview4_cli::run_main;

use self::{
    calibrate::Setting,
    hardware::{A100, Compute},
    model::{RELEASED, Sizes},
};

/// Predict how training scales.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Cli {
    /// Side of the pictures in pixels, a multiple of 16
    #[arg(long, default_value_t = 1024)]
    resolution: usize,
    /// Tokens of text a sample
    #[arg(long, default_value_t = 128)]
    max_sequence_length: usize,
    /// `metrics.jsonl` of measured runs of 1, 2, 4, ... processes, in this order; two of one process with other micro-batches
    /// tell what each takes beside its samples
    #[arg(long, num_args = 1..)]
    measured: Vec<PathBuf>,
    /// Samples of a micro-batch of one process of the measured runs: one number, or one for each run
    #[arg(long, value_delimiter = ',', default_value = "1")]
    train_batch_size: Vec<usize>,
    /// Micro-batches a step of the measured runs
    #[arg(long, default_value_t = 1)]
    gradient_accumulation_steps: usize,
    /// ZeRO stage of the measured runs
    #[arg(long, default_value_t = 2)]
    zero_stage: u8,
    /// Folder of the transformer that was trained in the measured runs, for its `config.json`
    #[arg(long)]
    transformer: Option<PathBuf>,
    /// The processes of the measured runs do not share cores: each has a device, or cores, of its own
    #[arg(long)]
    own_devices: bool,
}

fn main() -> ExitCode {
    run_main(|cli: Cli| run(&cli))
}

#[expect(clippy::print_stdout, reason = "the tables are the result")]
fn run(cli: &Cli) -> Result<()> {
    let side = cli.resolution;
    ensure!(side > 0 && side.is_multiple_of(16), "--resolution: {side} is not a multiple of 16");
    ensure!(cli.max_sequence_length > 0, "--max_sequence_length: must be at least 1");
    if cli.measured.is_empty() {
        print!("{}", text::all([side, cli.max_sequence_length]));
    } else {
        println!("{}", held_against(cli)?);
    }
    Ok(())
}

/// Measured runs beside what is predicted of them.
fn held_against(cli: &Cli) -> Result<String> {
    let count = cli.measured.len();
    let samples = match cli.train_batch_size.as_slice() {
        &[all] => vec![all; count],
        each => each.to_vec(),
    };
    ensure!(samples.len() == count, "--train_batch_size: {} numbers, {count} runs", samples.len());
    let micro_batches = cli.gradient_accumulation_steps;
    ensure!(!samples.contains(&0) && micro_batches > 0, "a step has at least one sample");
    ensure!(cli.zero_stage <= 2, "--zero_stage: {} is not 0, 1 or 2", cli.zero_stage);
    let sizes = match &cli.transformer {
        Some(folder) => sizes(&CogView4TransformerConfig::load(&folder.join("config.json"))?),
        None => RELEASED,
    };
    // Seconds are measured, so it counts only whether several have less each than one alone.
    let compute = if cli.own_devices { A100.compute } else { Compute::SharedCores { cores: 1.0, each: 1.0 } };
    let files = cli.measured.iter().zip(samples);
    let runs = files.map(|(path, samples)| measured::read_run(path, samples, micro_batches));
    let setting = Setting { sizes, zero_stage: cli.zero_stage, compute };
    measured::report(&setting, &runs.collect::<Result<Vec<_>>>()?)
}

fn sizes(config: &CogView4TransformerConfig) -> Sizes {
    Sizes {
        num_layers: config.num_layers as u64,
        inner_dim: config.inner_dim() as u64,
        patch_size: config.patch_size as u64,
        in_channels: config.in_channels as u64,
        out_channels: config.out_channels as u64,
        text_embed_dim: config.text_embed_dim as u64,
        time_embed_dim: config.time_embed_dim as u64,
        condition_dim: config.condition_dim as u64,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use cogview4::model::{
        ComputeDtype,
        activations::{ActivationSettings, KeptGradients, Recompute, SequenceLengths},
        weights::parameter_shapes,
    };

    use super::*;
    use crate::model::Batch;

    fn released() -> CogView4TransformerConfig {
        CogView4TransformerConfig {
            in_channels: 32,
            num_layers: 28,
            num_attention_heads: 32,
            attention_head_dim: 128,
            ..CogView4TransformerConfig::default()
        }
    }

    #[test]
    fn parameters_are_those_of_the_module() {
        let config = released();
        assert_eq!(sizes(&config), RELEASED);
        let shapes = parameter_shapes(&config.init(&Device::flex()));
        let count = |is_counted: &dyn Fn(&str) -> bool| -> u64 {
            let counted = shapes.iter().filter(|(key, _)| is_counted(key));
            counted.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
        };
        assert_eq!(count(&|_| true), RELEASED.parameters());
        assert_eq!(count(&|key| key.starts_with("transformer_blocks.3.")), RELEASED.block_parameters());
        assert_eq!(count(&|key| !key.starts_with("transformer_blocks.")), RELEASED.outside_parameters());
    }

    #[test]
    fn operations_and_activations_are_those_of_the_plan() {
        let lengths = SequenceLengths { batch: 8, seq_txt: 128, seq_img: 64 * 64 };
        let settings = ActivationSettings { dtype: ComputeDtype::BFloat16, threads: 1 };
        let planned = released().training_activations(lengths, settings, Recompute::EachBlock, KeptGradients::None);
        let batch = Batch { samples: 8, resolution: 1024, text_tokens: 128 };
        let flops = planned.flops / model::PASSES_WITH_RECOMPUTE / RELEASED.forward_flops(batch);
        assert!((0.999..=1.0).contains(&flops), "{flops}");
        // The plan is of the CPU, where the attention's backward is in f32.
        let bytes = planned.bytes as f64 / RELEASED.activation_bytes(batch) as f64;
        assert!((1.0..1.15).contains(&bytes), "{bytes}");
    }
}

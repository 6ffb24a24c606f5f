//! The memory of three trainings of a fixed model: no release may need more than the one before, and each as much as
//! its plan says.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{cargo, target};

/// One build for both, with the features that the examples have: what is built already serves.
const BUILD: &str = "build --release -p cogview4 -p cogview4-trainer --example random_pipeline \
                     --bin train_control_cogview4";
/// The model: 87 million parameters in blocks a quarter of the released width.
const PIPELINE: &str = "--num_layers 4 --width 1024 --text_layers 2 --text_width 512 --vae_width 32 --vocab_size 2000";
/// What all runs have in common.
const TRAINING: &str = "--dataset_name assets/figures.parquet --max_train_samples 1 --max_train_steps 2 --seed 1 \
                        --resolution 512 --train_batch_size 1 --report_to none";
/// Flags, and the most anonymous bytes that were seen with two threads.
const RUNS: [(&str, u64); 3] = [
    ("", 1_440_000_000),
    ("--gradient_checkpointing --mixed_precision bf16", 1_363_000_000),
    (
        "--gradient_checkpointing --mixed_precision bf16 --use_8bit_adam --stochastic_rounding \
         --optimizer_offload disk --gradient_offload disk --param_offload disk",
        315_000_000,
    ),
];
/// By such a part runs differ, and plans from them.
const SPREAD: f64 = 0.05;
const PLANNED: f64 = 0.1;
/// What another kind of CPU may hold more for its kernels, and each thread beyond two.
const KERNELS: u64 = 16 << 20;
const THREAD: u64 = 32 << 20;

#[expect(clippy::print_stdout, reason = "what was found is the answer")]
pub(super) fn check() -> Result<()> {
    cargo(BUILD, &[])?;
    let (programs, folder) = (target()?.join("release"), target()?.join("memory"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let pipeline = folder.join("pipeline");
    let mut writing = Command::new(programs.join("examples/random_pipeline"));
    super::run(writing.arg(&pipeline).args(PIPELINE.split_whitespace()))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let trainer = programs.join("train_control_cogview4");
    for (index, (flags, recorded)) in RUNS.into_iter().enumerate() {
        let output = folder.join(index.to_string());
        let command = |task: &[&str]| {
            let mut command = Command::new(&trainer);
            command.args(task).arg("--pretrained_model_name_or_path").arg(&pipeline).arg("--output_dir").arg(&output);
            command.args(TRAINING.split_whitespace()).args(flags.split_whitespace());
            command
        };
        let planned = planned(&mut command(&["plan"]))?;
        super::run(&mut command(&[]))?;
        let found = found(&output)?;
        println!("{found} bytes, recorded {recorded}, planned {planned}: {flags}");
        let more = threads.saturating_sub(2) * THREAD;
        let allowed = recorded + (recorded as f64 * SPREAD) as u64 + KERNELS + more;
        ensure!(found <= allowed, "`{flags}` takes more memory than it did");
        let off = (planned as f64 * PLANNED) as u64 + more;
        ensure!(found.abs_diff(planned) <= off, "`{flags}` does not take what its plan says");
    }
    Ok(())
}

/// What a plan says of memory.
fn planned(command: &mut Command) -> Result<u64> {
    let output = command.stderr(Stdio::inherit()).output().context("planning")?;
    let text = String::from_utf8(output.stdout).context("reading the plan")?;
    let plan: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).context("reading the plan")?;
    plan["peak_host_bytes"].as_u64().context("a plan without memory")
}

/// The most memory of a run.
fn found(output: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(output.join("metrics.jsonl")).context("reading what was measured")?;
    let line: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).context("reading a step")?;
    line["anon_memory_bytes"].as_u64().context("a step without memory")
}

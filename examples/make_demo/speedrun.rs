//! Everything from nothing, by one command that may be stopped and asked again, and how long it took.

use std::{fs, path::Path, process::Command, thread};

use anyhow::{Context, Result};
use clap::{Args, FromArgMatches};
use cogview4::model::{ComputeDtype, DeviceSpec};
use cogview4::trainer::{StepMetrics, Validation};
use serde::de::DeserializeOwned;

use crate::{
    autoencoder::{self, Kept, VaeArgs},
    data,
    measure::{self, MeasureArgs},
    text,
    transformers::{self, TransformerArgs},
};

/// What a training has to reach on the way.
const CONTROL_GAIN: f64 = 0.9;
const EDGE_F1: f64 = 0.85;

#[derive(Debug, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct SpeedrunArgs {
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    dtype: ComputeDtype,
    /// Steps of the autoencoder
    #[arg(long, default_value_t = 2250)]
    vae_steps: usize,
    /// Steps of the base model
    #[arg(long, default_value_t = 4500)]
    base_steps: usize,
    /// Steps of the control model
    #[arg(long, default_value_t = 7500)]
    control_steps: usize,
    /// Steps of the control model's second run
    #[arg(long, default_value_t = 5000)]
    finish_steps: usize,
}

/// Does what is not done yet, measures, and prints a row for the table of `assets/demo/README.md`.
pub(crate) fn run(folder: &Path, args: &SpeedrunArgs) -> Result<()> {
    let SpeedrunArgs { device, dtype, .. } = *args;
    if !folder.join("data").join("train.parquet").exists() {
        data(folder)?;
    }
    let mut vae: VaeArgs = defaults()?;
    (vae.steps, vae.device, vae.dtype) = (args.vae_steps, device, dtype);
    let kept = Kept::of(folder);
    if kept.progress()?.steps < vae.steps {
        autoencoder::train(folder, &vae)?;
    }
    if !folder.join("demo").join("model_index.json").exists() {
        text::write(folder)?;
    }
    let of_transformer: TransformerArgs = defaults()?;
    let of_run = |steps| TransformerArgs { steps, device, dtype, ..of_transformer.clone() };
    let is_done = |name: &str| folder.join(name).join("diffusion_pytorch_model.safetensors").exists();
    if !is_done("base") {
        transformers::base(folder, &of_run(args.base_steps))?;
    }
    if !is_done("control") {
        transformers::control(folder, &of_run(args.control_steps))?;
    }
    if !is_done("finished") {
        transformers::finish(folder, &of_run(args.finish_steps))?;
    }
    let mut measure: MeasureArgs = defaults()?;
    (measure.pipeline, measure.device, measure.dtype) = (Some(folder.join("demo")), device, dtype);
    (measure.transformer, measure.base) = (Some(folder.join("finished")), Some(folder.join("base")));
    measure::measure(folder, &measure)?;
    print_row(folder, kept.progress()?.seconds / 60.0)
}

/// The flags of a command as they are where none is given.
fn defaults<A: Args + FromArgMatches>() -> Result<A> {
    let command = A::augment_args(clap::Command::new("defaults"));
    Ok(A::from_arg_matches(&command.get_matches_from(["defaults"]))?)
}

#[expect(clippy::print_stdout, reason = "this is what the command gives")]
fn print_row(folder: &Path, before: f64) -> Result<()> {
    let time = |steps: &[StepMetrics], last: usize| {
        let steps = steps.iter().filter(|step| step.step <= last);
        let seconds = |step: &StepMetrics| {
            step.data_seconds + step.forward_seconds + step.backward_seconds + step.update_seconds + step.save_seconds
        };
        steps.map(seconds).sum::<f64>() / 60.0
    };
    let has: [fn(&Validation) -> bool; 2] = [
        |validation| validation.control_gain.is_some_and(|gain| gain >= CONTROL_GAIN),
        |validation| validation.fidelity.edge_f1.is_some_and(|f1| f1 >= EDGE_F1),
    ];
    // Of all trainings, from nothing on.
    let mut minutes = before + time(&lines(&folder.join("base").join("metrics.jsonl"))?, usize::MAX);
    let mut reached = [None; 2];
    for run in ["control", "finished"].map(|name| folder.join(name)) {
        let steps = lines::<StepMetrics>(&run.join("metrics.jsonl"))?;
        let validations = lines::<Validation>(&run.join("validation.jsonl"))?;
        for (reached, has) in reached.iter_mut().zip(has) {
            let first = validations.iter().find(|validation| has(validation));
            *reached = reached.or(first.map(|first| minutes + time(&steps, first.step)));
        }
        minutes += time(&steps, usize::MAX);
    }
    let [gain, f1] = reached;
    let shown = |minutes: Option<f64>| minutes.map_or_else(|| "not reached".into(), |minutes| format!("{minutes:.0}"));
    println!(
        "| {} | {} | {} | {} | {} | {} |",
        output("date", &["+%F"])?,
        output("git", &["rev-parse", "--short", "HEAD"])?,
        machine(),
        shown(gain),
        shown(f1),
        shown(Some(minutes))
    );
    Ok(())
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let parse = |line| serde_json::from_str(line).with_context(|| format!("parsing {}", path.display()));
    text.lines().map(parse).collect()
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("starting {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The name of the CPU, and how many threads it runs.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {threads} threads", name.map_or("CPU", |(_, name)| name))
}

//! The base model, which generates from captions alone.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::Args;
use cogview4::data::{Columns, open_dataset};
use cogview4::model::{ComputeDtype, DeviceSpec};
use cogview4::trainer::{SchedulerType, TrainConfig, Trainer, WeightingScheme};

use crate::emoji::SIDE;

#[derive(Debug, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct BaseArgs {
    /// Steps
    #[arg(long, default_value_t = 4000)]
    steps: usize,
    /// Pictures per step
    #[arg(long, default_value_t = 48)]
    batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    dtype: ComputeDtype,
}

/// Trains `demo/transformer` as it is, without control, and puts the result in its place.
pub(crate) fn train(folder: &Path, args: &BaseArgs) -> Result<()> {
    let (demo, output) = (folder.join("demo"), folder.join("base"));
    let mut config = TrainConfig::new(&demo, &output);
    config.max_train_steps = Some(args.steps);
    config.checkpointing_steps = 1000;
    config.checkpoints_total_limit = Some(1);
    config.device = args.device;
    config.seed = Some(0);
    config.report_to.clear();
    let recipe = &mut config.recipe;
    recipe.control = false;
    recipe.resolution = SIDE;
    recipe.train_batch_size = args.batch;
    recipe.compute_dtype = args.dtype;
    recipe.proportion_empty_prompts = 0.1;
    recipe.schedule.learning_rate = args.learning_rate;
    recipe.schedule.scheduler = SchedulerType::Cosine;
    recipe.schedule.warmup_steps = 100;
    recipe.density.scheme = WeightingScheme::LogitNormal;
    recipe.adam.weight_decay = 0.0;
    let data = open_dataset(&folder.join("data").join("train.parquet"), &Columns::default())?;
    Trainer::new(config, data)?.run(&mut ())?;
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        let (from, to) = (output.join(file), demo.join("transformer").join(file));
        fs::copy(&from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

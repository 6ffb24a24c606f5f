//! The trainings of a transformer: the base model, which draws from captions alone, and the control model that it is
//! widened to, in two runs.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::Args;
use cogview4::data::{Columns, open_dataset};
use cogview4::model::{ComputeDtype, DeviceSpec};
use cogview4::trainer::{Packing, Resume, SchedulerType, TrainConfig, Trainer, ValidationPair, WeightingScheme};

use crate::{drawings::DRAWINGS, pairs::SIDE};

#[derive(Debug, Clone, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct TransformerArgs {
    /// Steps; a run that was stopped goes on
    #[arg(long, default_value_t = 4000)]
    pub(crate) steps: usize,
    /// Pictures per step
    #[arg(long, default_value_t = 48)]
    pub(crate) batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-3)]
    pub(crate) learning_rate: f64,
    /// Device to compute on
    #[arg(long, default_value = "flex")]
    pub(crate) device: DeviceSpec,
    /// Number type of weights and activations
    #[arg(long, default_value = "float32")]
    pub(crate) dtype: ComputeDtype,
}

/// Trains `demo/transformer` as it is, without control, and puts the result in its place.
pub(crate) fn base(folder: &Path, args: &TransformerArgs) -> Result<()> {
    let mut config = config(folder, "base", args);
    config.recipe.control = false;
    config.report_to.clear();
    train(folder, config)?;
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        let (from, to) = (folder.join("base").join(file), folder.join("demo").join("transformer").join(file));
        fs::copy(&from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Trains the control model, from the base model on, into `control`.
pub(crate) fn control(folder: &Path, args: &TransformerArgs) -> Result<()> {
    let mut config = config(folder, "control", args);
    validate(folder, &mut config);
    train(folder, config)
}

/// Trains the control model on, into `finished`, with more of the noise levels at which its lines are drawn.
pub(crate) fn finish(folder: &Path, args: &TransformerArgs) -> Result<()> {
    let mut config = config(folder, "finished", args);
    config.transformer = Some(folder.join("control").into());
    config.seed = Some(1);
    config.recipe.schedule.learning_rate /= 2.0;
    (config.recipe.density.logit_mean, config.recipe.density.logit_std) = (-0.5, 1.2);
    validate(folder, &mut config);
    train(folder, config)
}

/// Has a run draw the demo's drawings.
fn validate(folder: &Path, config: &mut TrainConfig) {
    let pair = |name: &str, prompt: &str| ValidationPair {
        prompt: prompt.into(),
        image: folder.join("edges").join(name).with_extension("png").display().to_string(),
    };
    config.validation.pairs = DRAWINGS.iter().map(|drawing| pair(drawing.name, drawing.prompts[0])).collect();
    config.validation.steps = 500;
}

fn config(folder: &Path, output: &str, args: &TransformerArgs) -> TrainConfig {
    let mut config = TrainConfig::new(folder.join("demo"), folder.join(output));
    config.max_train_steps = Some(args.steps);
    config.checkpointing_steps = 500;
    config.checkpoints_total_limit = Some(1);
    config.resume = Some(Resume::Latest);
    config.pack = Packing::Folder(folder.join("pack"));
    config.device = args.device;
    config.seed = Some(0);
    let recipe = &mut config.recipe;
    recipe.resolution = SIDE;
    recipe.train_batch_size = args.batch;
    recipe.compute_dtype = args.dtype;
    recipe.proportion_empty_prompts = 0.1;
    recipe.schedule.learning_rate = args.learning_rate;
    recipe.schedule.scheduler = SchedulerType::Cosine;
    recipe.schedule.warmup_steps = 100;
    // Wide, and more at the noisy end: what colour a thing has is decided in the first few steps of a drawing.
    recipe.density.scheme = WeightingScheme::LogitNormal;
    (recipe.density.logit_mean, recipe.density.logit_std) = (-1.0, 1.5);
    recipe.adam.weight_decay = 0.0;
    config
}

fn train(folder: &Path, config: TrainConfig) -> Result<()> {
    let data = open_dataset(&folder.join("data").join("train.parquet"), &Columns::default())?;
    Trainer::new(config, data)?.run(&mut ())?;
    Ok(())
}

//! What a run will read and do, as far as configurations and headers tell.

use cogview4_control_pipeline::{
    Component, InputChannels, PipelineConfigs, PipelineFolder, PipelineSource,
    plan::{Machine, PipelineWeights},
};
use cogview4_hub::Source;
use cogview4_model::{CogView4Transformer, CogView4TransformerConfig};

use super::setup::Opened;
use crate::{
    checkpoint::Checkpoint,
    config::{MAX_COUNT, TrainConfig},
    error::{Result, TrainError},
    plan::{Processes, TrainPlanner},
    schedule::order::SampleOrder,
};

/// The pipeline, with the checkpoint's transformer, and its configurations.
pub(super) fn read(config: &TrainConfig, checkpoint: Option<&Checkpoint>) -> Result<(PipelineFolder, PipelineConfigs)> {
    let source = PipelineSource {
        pipeline: config.pretrained_model.clone(),
        transformer: match checkpoint {
            Some(checkpoint) => Some(Source::Folder(checkpoint.folder.join("transformer"))),
            None => config.transformer.clone(),
        },
        variant: config.variant.clone(),
        hub: config.hub.clone(),
    };
    let folder = source.fetch(&Component::ALL)?;
    let channels = match (config.recipe.control, checkpoint) {
        (false, _) => InputChannels::Base,
        (true, None) => InputChannels::BaseOrControl,
        (true, Some(_)) => InputChannels::Control,
    };
    let configs = folder.read_configs(channels)?;
    Ok((folder, configs))
}

/// Gets ready to plan a run on so many rows: reads configurations and headers of weight files, but no weights.
pub(crate) fn planner(config: &TrainConfig, rows: usize, processes: Processes) -> Result<TrainPlanner> {
    config.check()?;
    let checkpoint = match config.output_dir.is_dir() {
        true => Checkpoint::find(config, &mut Vec::new())?,
        false => None,
    };
    let (folder, configs) = read(config, checkpoint.as_ref())?;
    // The seed decides in which order rows come, not how long a run is.
    let total_steps = total_steps(config, &order(config, 0, (rows, processes.size)), rows)?;
    Ok(planner_of(config, (&folder, &configs), checkpoint.as_ref(), (rows, total_steps), processes))
}

pub(super) fn planner_of(
    config: &TrainConfig,
    (folder, configs): (&PipelineFolder, &PipelineConfigs),
    checkpoint: Option<&Checkpoint>,
    (rows, total_steps): (usize, usize),
    processes: Processes,
) -> TrainPlanner {
    let first = checkpoint.map_or(0, |checkpoint| checkpoint.state.step);
    let mut configs = configs.clone();
    configs.transformer = trained(&configs, config.recipe.control);
    // What is wrong with them is told once they are needed: a pack that is complete needs none.
    let read = |component| PipelineWeights::read(folder, &[component]).unwrap_or_default();
    let weights = PipelineWeights { vae: read(Component::Vae).vae, ..read(Component::TextEncoder) };
    TrainPlanner::new(configs, weights, rows, first..total_steps, Machine::here()).one_of(processes)
}

/// The order in which a run of so many processes takes its rows.
pub(super) fn order(config: &TrainConfig, seed: u64, (rows, processes): (usize, usize)) -> SampleOrder {
    let of_process = config.recipe.train_batch_size * config.recipe.gradient_accumulation_steps;
    SampleOrder::new(seed, rows, of_process * processes)
}

/// Length of a run.
pub(super) fn total_steps(config: &TrainConfig, order: &SampleOrder, rows: usize) -> Result<usize> {
    let epochs = config.num_train_epochs.checked_mul(order.steps_per_epoch());
    config.max_train_steps.or(epochs).filter(|steps| *steps <= MAX_COUNT).ok_or_else(|| {
        TrainError::setting("num_train_epochs", format!("gives more than {MAX_COUNT} steps with {rows} rows"))
    })
}

/// The configuration of the transformer that is trained.
fn trained(configs: &PipelineConfigs, control: bool) -> CogView4TransformerConfig {
    let mut config = configs.transformer.clone();
    if control {
        config.in_channels = 2 * configs.vae.latent_channels;
    }
    config
}

/// The transformer that is trained, without its weights: nothing is allocated for it.
pub(super) fn transformer(opened: &Opened, control: bool) -> CogView4Transformer {
    CogView4Transformer::init(&trained(&opened.configs, control), &opened.device)
}

//! The model and its optimiser, brought to where training has them.

use std::sync::Arc;

use burn::{module::Module, tensor::DType};
use cogview4_model::{
    CogView4Transformer,
    weights::{DIFFUSION_WEIGHTS, WeightOptions, WeightsInPlace, parameter_shapes, set_trained},
};

use super::{planning::transformer, setup::Opened};
use crate::{
    checkpoint::{Checkpoint, StoredState},
    config::{Offload, TrainConfig},
    distributed::Group,
    error::{Result, make_folder},
    optimizer::{AdamW, GradientMemory, Partition, block_prefix},
    plan::gradient_bytes,
};

/// The transformer in the type that it is computed in, and its optimiser: the base model widened to a control model, or
/// as the checkpoint has them. Blocks are brought there one after another, so that there is never a second model.
pub(super) fn load(
    config: &TrainConfig,
    opened: &Opened,
    (seed, partition): (u64, Option<&Arc<Partition>>),
) -> Result<(CogView4Transformer, AdamW)> {
    let options = WeightOptions { resident_blocks: Some(0), ..WeightOptions::new(DType::F32, &opened.device) };
    let model = opened.folder.load_transformer(&options)?;
    let model = match config.recipe.control && !opened.configs.is_control() {
        true => model.widen_input(),
        false => model,
    };
    let mut optimizer = optimizer(config, opened, (seed, partition.is_some()))?;
    if let Some(partition) = partition {
        optimizer = optimizer.with_partition(Arc::clone(partition));
    }
    let stored = opened.checkpoint.as_ref().map(Checkpoint::open_state).transpose()?;
    let mut part = Part { config, stored, optimizer: &mut optimizer };
    let model = model.map_outside(|outside| part.bring("", outside))?;
    let model = model.map_blocks(|index, block| part.bring(&block_prefix(index), block))?;
    Ok((model, optimizer))
}

/// An optimiser that has made no step.
fn optimizer(config: &TrainConfig, opened: &Opened, (seed, is_shared): (u64, bool)) -> Result<AdamW> {
    if let Some(folder) = config.scratch_folder() {
        make_folder("scratch_dir", &folder)?;
    }
    let optimizer = AdamW::with_options(config.recipe.adam, config.state_options(seed, (&opened.device, is_shared)))?;
    if config.param_offload != Offload::Disk {
        return Ok(optimizer);
    }
    let (folder, dtype) = (&config.output_dir, config.recipe.compute_dtype.dtype());
    let parameters = parameter_shapes(&transformer(opened, config.recipe.control));
    let weights = WeightsInPlace::create(folder, DIFFUSION_WEIGHTS, parameters, dtype)?;
    Ok(optimizer.with_weights(weights))
}

/// Which process owns what, where there are several.
pub(super) fn partition(config: &TrainConfig, opened: &Opened, group: &Group) -> Option<Arc<Partition>> {
    let place = (group.rank(), group.size());
    (place.1 > 1)
        .then(|| Arc::new(Partition::new(trained(config, opened), opened.configs.transformer.num_layers, place)))
}

/// Key and number of values of every parameter that is trained.
fn trained(config: &TrainConfig, opened: &Opened) -> Vec<(String, usize)> {
    let parameters = parameter_shapes(&transformer(opened, config.recipe.control)).into_iter();
    let trained = parameters.filter(|(key, _)| config.recipe.is_trained(key));
    trained.map(|(key, shape)| (key, shape.iter().product())).collect()
}

/// Room for the gradients of a step, where they are not to have memory of their own: of several processes for the sums
/// that each owns, in f32.
pub(super) fn gradient_memory(
    config: &TrainConfig,
    opened: &Opened,
    partition: Option<&Arc<Partition>>,
) -> Result<Option<GradientMemory>> {
    if !config.files_gradients() {
        return Ok(None);
    }
    let counts = trained(config, opened).into_iter();
    let (place, bytes) = (config.scratch_place(), gradient_bytes(&config.recipe));
    match partition {
        None => GradientMemory::new(&place, counts, bytes),
        Some(partition) => {
            let own = counts.map(|(key, count)| (key.clone(), partition.own(&key, count).len()));
            GradientMemory::new(&place, own.filter(|(_, count)| *count > 0), size_of::<f32>())
        }
    }
    .map(Some)
}

/// Brings parts of an f32 model to where training has them.
struct Part<'a> {
    config: &'a TrainConfig,
    stored: Option<StoredState>,
    optimizer: &'a mut AdamW,
}

impl Part<'_> {
    /// A part whose keys begin with `prefix`.
    fn bring<M: Module>(&mut self, prefix: &str, part: M) -> Result<M> {
        let recipe = &self.config.recipe;
        let part = set_trained(part, |key| recipe.is_trained(&format!("{prefix}{key}")));
        let part = match &self.stored {
            Some(stored) => stored.restore(prefix, part, self.config, self.optimizer)?,
            None => part,
        };
        self.optimizer.narrow_part(prefix, part, recipe.compute_dtype.dtype())
    }
}

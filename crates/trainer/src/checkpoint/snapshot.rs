//! What a checkpoint is made of, as it was after a step. It shares the memory of model and optimiser: what a step changes
//! before it is written is copied then, by who changes it.

use burn::tensor::DType;
use cogview4_model::{CogView4Transformer, CogView4TransformerConfig};

use super::{files::MASTER, state::TrainState};
use crate::{
    error::Result,
    optimizer::{AdamW, Layout, Slice},
};

/// A state to write.
pub(crate) struct Snapshot {
    pub state: TrainState,
    pub config: CogView4TransformerConfig,
    pub weights: Tensors,
    /// Moments, and f32 values of what is saved in bfloat16.
    pub optimizer: Tensors,
}

/// The tensors of files, and the values of them that are this process's.
pub(crate) struct Tensors {
    pub layouts: Vec<Layout>,
    pub slices: Vec<Slice>,
}

impl Snapshot {
    /// Takes the transformer, to be saved in this type, and the optimiser's state.
    ///
    /// # Errors
    /// A model of which blocks are not in memory.
    pub(crate) fn take(
        state: TrainState,
        model: &CogView4Transformer,
        optimizer: &AdamW,
        dtype: DType,
    ) -> Result<Self> {
        let config = model.config_to_save()?.clone();
        let weights =
            Tensors { layouts: AdamW::weight_layouts(model, dtype), slices: optimizer.weight_slices(model, dtype) };
        let (mut layouts, mut slices) = (optimizer.moment_layouts(), optimizer.moment_slices());
        // What is saved in bfloat16 has its f32 values here, if there are any.
        if dtype != DType::F32 && optimizer.has_f32_values() {
            let of_masters = |(key, _, shape): &Layout| (format!("{MASTER}{key}"), DType::F32, shape.clone());
            layouts.extend(weights.layouts.iter().map(of_masters));
            let masters = optimizer.weight_slices(model, DType::F32).into_iter();
            slices.extend(masters.map(|slice| Slice { name: format!("{MASTER}{}", slice.name), ..slice }));
        }
        Ok(Self { state, config, weights, optimizer: Tensors { layouts, slices } })
    }
}

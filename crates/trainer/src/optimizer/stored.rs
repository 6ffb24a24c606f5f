//! What a checkpoint takes of model and optimiser, and gives back: of a process that shares the work, its own slices.

use std::ops::Range;

use burn::{
    module::Module,
    tensor::{DType, TensorData},
};
use cogview4_model::weights::{TensorSource, parameter_shapes, parameter_sources};

use super::{
    AdamW, Partition,
    state::{BLOCK, Extent, MOMENTS, StoredMoment, moment_layouts},
};
use crate::error::Result;

/// Name, type and shape of a tensor of a checkpoint.
pub(crate) type Layout = (String, DType, Vec<usize>);

/// Values of a tensor of a checkpoint, from number `first` on.
#[derive(Debug)]
pub(crate) struct Slice {
    pub name: String,
    pub first: usize,
    pub source: TensorSource<'static>,
}

impl AdamW {
    /// The values of a parameter whose state is here.
    pub(crate) fn extent(&self, key: &str, whole: usize) -> Extent {
        extent(self.partition.as_deref(), key, whole)
    }

    /// All parameters, in the type that they are saved in.
    pub(crate) fn weight_layouts(model: &impl Module, dtype: DType) -> Vec<Layout> {
        parameter_shapes(model).into_iter().map(|(key, shape)| (key, dtype, shape)).collect()
    }

    /// The own values of all parameters: masters, where there are any.
    pub(crate) fn weight_slices(&self, model: &impl Module, dtype: DType) -> Vec<Slice> {
        let slice = |(name, source): (String, TensorSource<'static>)| {
            let Extent { values, whole } = self.extent(&name, source.shape().iter().product());
            let (first, length) = (values.start, values.len());
            let shape = if length == whole { source.shape().to_vec() } else { vec![length] };
            let source = match self.store.master(&name, dtype, &shape) {
                Some(master) => master,
                None if length == whole => source,
                None => TensorSource::fallible(dtype, shape, move || Ok(cut(source.read()?, values))),
            };
            (whole == 0 || length > 0).then_some(Slice { name, first, source })
        };
        parameter_sources(model, Some(dtype)).into_iter().filter_map(slice).collect()
    }

    /// All moments.
    pub(crate) fn moment_layouts(&self) -> Vec<Layout> {
        let use_8bit = self.store.use_8bit();
        let layouts = |(key, length): (String, usize)| {
            MOMENTS.into_iter().flat_map(move |name| moment_layouts(name, &key, length, use_8bit))
        };
        match &self.partition {
            None => self.store.lengths().into_iter().flat_map(layouts).collect(),
            Some(partition) => partition.trained().flat_map(layouts).collect(),
        }
    }

    /// The own values of all moments.
    pub(crate) fn moment_slices(&self) -> Vec<Slice> {
        self.store.slices(|key| self.extent(key, 0).values.start)
    }

    /// Whether there are f32 values of parameters: where they are rounded at random, there are none.
    pub(crate) fn has_f32_values(&self) -> bool {
        !self.store.is_rounding()
    }

    /// Puts own moments of a parameter back, as a checkpoint has them.
    pub(crate) fn restore(&mut self, key: &str, extent: &Extent, stored: [StoredMoment; 2]) -> Result<()> {
        self.store.restore(key, extent, stored)
    }
}

impl StoredMoment {
    /// Some of its values, in whole blocks.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        match self {
            Self::Full(values) if range.len() == values.len() => Self::Full(values),
            Self::Codes { codes, scales } if range.len() == codes.len() => Self::Codes { codes, scales },
            Self::Full(values) => Self::Full(values[range].to_vec()),
            Self::Codes { codes, scales } => {
                let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
                Self::Codes { codes: codes[range].to_vec(), scales: scales[blocks].to_vec() }
            }
        }
    }
}

/// The values of a parameter whose state is here.
pub(super) fn extent(partition: Option<&Partition>, key: &str, whole: usize) -> Extent {
    let values = partition.map_or(0..whole, |partition| partition.own(key, whole));
    Extent { values, whole }
}

/// Some values of a tensor, in its type.
fn cut(data: TensorData, range: Range<usize>) -> TensorData {
    let (size, dtype) = (data.dtype().size(), data.dtype());
    let bytes = data.as_bytes()[range.start * size..range.end * size].to_vec();
    TensorData::from_bytes_vec(bytes, [range.len()], dtype)
}

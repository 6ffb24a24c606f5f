//! A moment of a parameter, in f32 or in 8 bits.

use burn::tensor::{DType, TensorData};
use cogview4_model::weights::TensorSource;

use super::{
    Extent, Lease, SCALES,
    codes::{BLOCK, CodeTable, Codes},
};
use crate::{
    error::Result,
    optimizer::{
        memory::{Memory, Shared},
        stored::{Layout, Slice},
    },
};

/// Parameters of fewer values keep their moments in f32, as those of bitsandbytes do.
const LEAST_IN_8_BITS: usize = 4096;

#[derive(Debug)]
pub(super) enum Moment {
    Full(Shared),
    Codes { codes: Shared, scales: Shared },
}

/// A moment as a checkpoint has it.
#[derive(Debug)]
pub(crate) enum StoredMoment {
    /// In f32.
    Full(Vec<f32>),
    /// In 8 bits, with the scale of each block.
    Codes { codes: Vec<u8>, scales: Vec<f32> },
}

impl StoredMoment {
    pub(super) fn into_floats(self, table: &'static CodeTable) -> Vec<f32> {
        match self {
            Self::Full(values) => values,
            Self::Codes { mut codes, mut scales } => {
                let (kept, mut wide) = (Codes { table, codes: &mut codes, scales: &mut scales }, Vec::new());
                kept.read_to(&mut wide);
                wide
            }
        }
    }
}

impl Moment {
    /// Zeros, for some values of a parameter.
    pub(super) fn new(memory: &mut Memory, extent: &Extent, use_8bit: bool) -> Result<Self> {
        let len = extent.values.len();
        Ok(match is_in_8_bits(extent.whole, use_8bit) {
            true => Self::Codes {
                codes: Shared::new(memory.zeros::<u8>(len)?),
                scales: Shared::new(memory.zeros::<f32>(len.div_ceil(BLOCK))?),
            },
            false => Self::Full(Shared::new(memory.zeros::<f32>(len)?)),
        })
    }

    /// In chunks of a multiple of a block.
    ///
    /// # Errors
    /// No memory for a copy of what a checkpoint shares.
    pub(super) fn chunks(&mut self, chunk: usize, table: &'static CodeTable) -> Result<Vec<Lease<'_>>> {
        Ok(match self {
            Self::Full(values) => values.floats_mut()?.chunks_mut(chunk).map(Lease::Full).collect(),
            Self::Codes { codes, scales } => {
                let parts = codes.bytes_mut()?.chunks_mut(chunk).zip(scales.floats_mut()?.chunks_mut(chunk / BLOCK));
                parts.map(|(codes, scales)| Lease::Codes(Codes { table, codes, scales })).collect()
            }
        })
    }

    /// Puts back what a checkpoint has, in this form or the other.
    pub(super) fn restore(&mut self, stored: StoredMoment, table: &'static CodeTable) -> Result<()> {
        match (self, stored) {
            (Self::Codes { codes, scales }, StoredMoment::Codes { codes: from, scales: of_blocks }) => {
                codes.bytes_mut()?.copy_from_slice(&from);
                scales.floats_mut()?.copy_from_slice(&of_blocks);
            }
            (Self::Codes { codes, scales }, StoredMoment::Full(values)) => {
                Codes { table, codes: codes.bytes_mut()?, scales: scales.floats_mut()? }.write(&values);
            }
            (Self::Full(values), stored) => values.floats_mut()?.copy_from_slice(&stored.into_floats(table)),
        }
        Ok(())
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Full(values) => values.floats().len(),
            Self::Codes { codes, .. } => codes.bytes().len(),
        }
    }

    /// As slices of the tensors of [`moment_layouts`], where the values are those from number `first` on.
    pub(super) fn slices(&self, name: &str, key: &str, first: usize) -> Vec<Slice> {
        match self {
            Self::Full(values) => vec![Slice { name: format!("{name}.{key}"), first, source: source(values) }],
            Self::Codes { codes, scales } => {
                let (codes, length) = (codes.clone(), codes.bytes().len());
                let read = move || TensorData::new(codes.bytes().to_vec(), [length]);
                let codes = TensorSource::new(DType::U8, [length], read);
                let scales = source(scales);
                vec![
                    Slice { name: format!("{name}.{key}"), first, source: codes },
                    Slice { name: format!("{name}{SCALES}.{key}"), first: first / BLOCK, source: scales },
                ]
            }
        }
    }
}

/// The tensors of a moment of a parameter of so many values: `NAME.KEY`, in 8 bits with `NAME_absmax.KEY`.
pub(in crate::optimizer) fn moment_layouts(name: &str, key: &str, length: usize, use_8bit: bool) -> Vec<Layout> {
    let full = format!("{name}.{key}");
    match is_in_8_bits(length, use_8bit) {
        false => vec![(full, DType::F32, vec![length])],
        true => vec![
            (full, DType::U8, vec![length]),
            (format!("{name}{SCALES}.{key}"), DType::F32, vec![length.div_ceil(BLOCK)]),
        ],
    }
}

/// Whether the moments of a parameter of so many values are in 8 bits.
fn is_in_8_bits(len: usize, use_8bit: bool) -> bool {
    use_8bit && len >= LEAST_IN_8_BITS
}

/// Copies the values only when they are read.
fn source(values: &Shared) -> TensorSource<'static> {
    let (values, length) = (values.clone(), values.floats().len());
    TensorSource::new(DType::F32, [length], move || TensorData::new(values.floats().to_vec(), [length]))
}

//! A moment of a parameter, in f32 or in 8 bits.

use burn::tensor::{DType, TensorData};
use cogview4_model::weights::TensorSource;
use memmap2::MmapMut;

use super::{
    Lease, SCALES,
    codes::{BLOCK, CodeTable, Codes},
};
use crate::{
    error::Result,
    optimizer::memory::{Memory, floats, floats_mut},
};

/// Parameters of fewer values keep their moments in f32, as those of bitsandbytes do.
const LEAST_IN_8_BITS: usize = 4096;

#[derive(Debug)]
pub(super) enum Moment {
    Full(MmapMut),
    Codes { codes: MmapMut, scales: MmapMut },
}

/// A moment as a checkpoint has it.
#[derive(Debug)]
pub(crate) enum StoredMoment {
    /// In f32.
    Full(Vec<f32>),
    /// In 8 bits, with the scale of each block.
    Codes { codes: Vec<u8>, scales: Vec<f32> },
}

impl Moment {
    /// Zeros.
    pub(super) fn new(memory: &mut Memory, len: usize, use_8bit: bool) -> Result<Self> {
        Ok(match use_8bit && len >= LEAST_IN_8_BITS {
            true => Self::Codes { codes: memory.zeros::<u8>(len)?, scales: memory.zeros::<f32>(len.div_ceil(BLOCK))? },
            false => Self::Full(memory.zeros::<f32>(len)?),
        })
    }

    /// In chunks of a multiple of a block.
    pub(super) fn chunks(&mut self, chunk: usize, table: &'static CodeTable) -> Vec<Lease<'_>> {
        match self {
            Self::Full(values) => floats_mut(values).chunks_mut(chunk).map(Lease::Full).collect(),
            Self::Codes { codes, scales } => {
                let parts = codes.chunks_mut(chunk).zip(floats_mut(scales).chunks_mut(chunk / BLOCK));
                parts.map(|(codes, scales)| Lease::Codes(Codes { table, codes, scales })).collect()
            }
        }
    }

    /// Puts back what a checkpoint has, in this form or the other.
    pub(super) fn restore(&mut self, stored: StoredMoment, table: &'static CodeTable) {
        match (self, stored) {
            (Self::Codes { codes, scales }, StoredMoment::Codes { codes: from, scales: of_blocks }) => {
                codes.copy_from_slice(&from);
                floats_mut(scales).copy_from_slice(&of_blocks);
            }
            (Self::Codes { codes, scales }, StoredMoment::Full(values)) => {
                Codes { table, codes, scales: floats_mut(scales) }.write(&values);
            }
            (Self::Full(values), StoredMoment::Full(from)) => floats_mut(values).copy_from_slice(&from),
            (Self::Full(values), StoredMoment::Codes { mut codes, mut scales }) => {
                let (kept, mut wide) = (Codes { table, codes: &mut codes, scales: &mut scales }, Vec::new());
                kept.read_to(&mut wide);
                floats_mut(values).copy_from_slice(&wide);
            }
        }
    }

    /// As tensors: `NAME.KEY`, in 8 bits with `NAME_absmax.KEY`.
    pub(super) fn tensors(&self, name: &str, key: &str) -> Vec<(String, TensorSource<'_>)> {
        match self {
            Self::Full(values) => vec![(format!("{name}.{key}"), source(floats(values)))],
            Self::Codes { codes, scales } => {
                let bytes: &[u8] = codes;
                let read = move || TensorData::new(bytes.to_vec(), [bytes.len()]);
                vec![
                    (format!("{name}.{key}"), TensorSource::new(DType::U8, [bytes.len()], read)),
                    (format!("{name}{SCALES}.{key}"), source(floats(scales))),
                ]
            }
        }
    }
}

/// Copies the values only when they are read.
fn source(values: &[f32]) -> TensorSource<'_> {
    TensorSource::new(DType::F32, [values.len()], || TensorData::new(values.to_vec(), [values.len()]))
}

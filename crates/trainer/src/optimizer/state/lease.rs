//! Chunks of values that are kept in one way or another, lent as f32 while they change.

use std::ops::Range;

use burn::tensor::{DType, TensorData};
use half::bf16;

use super::codes::Codes;
use crate::optimizer::{buffers::with_buffer, rounding::RandomBits};

/// The values of a parameter, to be changed.
pub(crate) enum Values<'a> {
    Full(&'a mut [f32]),
    Narrow(&'a mut [bf16]),
}

impl<'a> Values<'a> {
    /// Those of a tensor.
    pub(crate) fn of(data: &'a mut TensorData) -> Self {
        match data.dtype() {
            DType::F32 => Self::Full(data.as_mut_slice().expect("invariant: of this type")),
            _ => Self::Narrow(data.as_mut_slice().expect("invariant: parameters are f32 or bf16")),
        }
    }

    /// Those that these bytes are in a type.
    pub(crate) fn in_bytes(bytes: &'a mut [u8], dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::Full(bytemuck::cast_slice_mut(bytes)),
            _ => Self::Narrow(bytemuck::cast_slice_mut(bytes)),
        }
    }

    /// Some of them.
    pub(crate) fn part(&mut self, range: Range<usize>) -> Values<'_> {
        match self {
            Self::Full(values) => Values::Full(&mut values[range]),
            Self::Narrow(values) => Values::Narrow(&mut values[range]),
        }
    }

    /// In the type that they have.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Full(values) => bytemuck::cast_slice(values),
            Self::Narrow(values) => bytemuck::cast_slice(values),
        }
    }

    /// As [`as_bytes`](Self::as_bytes), to change them.
    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Full(values) => bytemuck::cast_slice_mut(values),
            Self::Narrow(values) => bytemuck::cast_slice_mut(values),
        }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Full(values) => values.len(),
            Self::Narrow(values) => values.len(),
        }
    }
}

/// A chunk of a parameter, or of a moment of it.
pub(crate) enum Lease<'a> {
    /// Values that are f32.
    Full(&'a mut [f32]),
    /// Moments in 8 bits.
    Codes(Codes<'a>),
    /// A parameter with its master, which it follows.
    Mastered { master: &'a mut [f32], narrow: &'a mut [bf16] },
    /// A parameter that is rounded at random.
    Rounded { narrow: &'a mut [bf16], bits: Box<RandomBits> },
}

impl Lease<'_> {
    /// Changes the values.
    pub(crate) fn with<R>(self, work: impl FnOnce(&mut [f32]) -> R) -> R {
        match self {
            Self::Full(values) => work(values),
            Self::Codes(mut codes) => with_buffer(|values| {
                codes.read_to(values);
                let result = work(values);
                codes.write(values);
                result
            }),
            Self::Mastered { master, narrow } => {
                let result = work(master);
                narrow.iter_mut().zip(master).for_each(|(narrow, value)| *narrow = bf16::from_f32(*value));
                result
            }
            Self::Rounded { narrow, mut bits } => with_buffer(|values| {
                values.extend(narrow.iter().map(|value| value.to_f32()));
                let result = work(values);
                bits.round(values, narrow);
                result
            }),
        }
    }
}

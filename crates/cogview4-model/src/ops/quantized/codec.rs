//! From values to codes and back, block by block, in parallel over rows.

use burn::tensor::Element;
use half::{bf16, f16};
use rayon::prelude::*;

use super::{BLOCK_VALUES, QuantizedMatrix};

/// The code of the largest value of a block.
const LARGEST_CODE: f32 = 127.0;
/// Adding this to a small float rounds it to an integer, ties to even, which then stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// Values that a task works on, about.
const TASK_VALUES: usize = 1 << 16;
const SIGN: u32 = 1 << 31;

/// What values are in memory.
pub(super) trait Float: Element + Copy {
    fn wide(self) -> f32;
    fn narrow(value: f32) -> Self;
}

impl Float for f32 {
    fn wide(self) -> f32 {
        self
    }

    fn narrow(value: f32) -> Self {
        value
    }
}

impl Float for bf16 {
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// Of a finite value, to the nearest, ties to even.
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        Self::from_bits((bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    }
}

/// Codes and scales of rows of `width` values, or the index of a value that has no code.
pub(super) fn encode<T: Float>(values: &[T], width: usize) -> Result<(Vec<i8>, Vec<f16>), usize> {
    let blocks = width.div_ceil(BLOCK_VALUES);
    let mut codes = vec![0; values.len()];
    let mut scales = vec![f16::ZERO; values.len() / width.max(1) * blocks];
    let rows = (TASK_VALUES / width.max(1)).max(1);
    let tasks = values.par_chunks(rows * width.max(1)).zip(codes.par_chunks_mut(rows * width.max(1)));
    tasks.zip(scales.par_chunks_mut(rows * blocks.max(1))).enumerate().try_for_each(
        |(task, ((values, codes), scales))| {
            let of_rows = values.chunks_exact(width).zip(codes.chunks_exact_mut(width));
            for (row, ((values, codes), scales)) in of_rows.zip(scales.chunks_exact_mut(blocks)).enumerate() {
                let of_blocks = values.chunks(BLOCK_VALUES).zip(codes.chunks_mut(BLOCK_VALUES)).zip(scales);
                for (block, ((values, codes), scale)) in of_blocks.enumerate() {
                    let first = (task * rows + row) * width + block * BLOCK_VALUES;
                    *scale = encode_block(values, codes).map_err(|index| first + index)?;
                }
            }
            Ok::<(), usize>(())
        },
    )?;
    Ok((codes, scales))
}

/// The scale of a block, or the index of a value that has no code.
fn encode_block<T: Float>(values: &[T], codes: &mut [i8]) -> Result<f16, usize> {
    // The bits of absolute values are ordered as these are; those that are not finite are beyond all others.
    let magnitude = |value: &T| value.wide().to_bits() & !SIGN;
    let largest = f32::from_bits(values.iter().map(magnitude).fold(0, u32::max));
    let scale = scale(largest);
    if !(largest.is_finite() && scale.is_finite()) {
        return Err(values.iter().position(|value| magnitude(value) == largest.to_bits()).unwrap_or_default());
    }
    let inverse = if scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() };
    for (code, value) in codes.iter_mut().zip(values) {
        let scaled = (value.wide() * inverse).clamp(-LARGEST_CODE, LARGEST_CODE);
        *code = (scaled + ROUNDER).to_bits() as i8;
    }
    Ok(scale)
}

/// The largest value over the largest code, in f16: rounded up where rounding to the nearest would cut the largest
/// value, as happens to the smallest of scales.
fn scale(largest: f32) -> f16 {
    let nearest = f16::from_f32(largest / LARGEST_CODE);
    match nearest.to_f32() * (LARGEST_CODE + 0.5) < largest {
        true => f16::from_bits(nearest.to_bits() + 1),
        false => nearest,
    }
}

/// All values, rounded to a type.
pub(super) fn decode<T: Float>(matrix: &QuantizedMatrix) -> Vec<T> {
    let [_, width] = matrix.dims();
    let mut values = vec![T::narrow(0.0); matrix.codes().len()];
    if values.is_empty() {
        return values;
    }
    let (rows, blocks) = ((TASK_VALUES / width).max(1), width.div_ceil(BLOCK_VALUES));
    let tasks = values.par_chunks_mut(rows * width).zip(matrix.codes().par_chunks(rows * width));
    tasks.zip(matrix.scales().par_chunks(rows * blocks)).for_each(|((values, codes), scales)| {
        let of_rows = values.chunks_exact_mut(width).zip(codes.chunks_exact(width));
        for ((values, codes), scales) in of_rows.zip(scales.chunks_exact(blocks)) {
            let of_blocks = values.chunks_mut(BLOCK_VALUES).zip(codes.chunks(BLOCK_VALUES)).zip(scales);
            for ((values, codes), scale) in of_blocks {
                let scale = scale.to_f32();
                for (value, &code) in values.iter_mut().zip(codes) {
                    *value = T::narrow(f32::from(code) * scale);
                }
            }
        }
    });
    values
}

//! From matrices to panels: item by item along the summed axis, so many rows each.

use half::f16;

use super::unit::{MOST_LANES, Unit};
use crate::ops::{BLOCK_VALUES, fused::host::matrix::Matrix};

/// One side of a product, `[rows, depth]`.
#[derive(Clone, Copy)]
pub(in crate::ops::fused::host) enum Operand<'a> {
    /// In bfloat16.
    Bf16(Matrix<'a>),
    /// In f32.
    F32(Matrix<'a, f32>),
    /// Row by row: codes, and for each block of a row what they are multiplied with.
    Codes { codes: &'a [i8], scales: &'a [f16], depth: usize },
}

impl Operand<'_> {
    pub(super) fn rows(&self) -> usize {
        match *self {
            Self::Bf16(matrix) => matrix.rows,
            Self::F32(matrix) => matrix.rows,
            Self::Codes { codes, depth, .. } => codes.len() / depth,
        }
    }

    pub(super) fn depth(&self) -> usize {
        match *self {
            Self::Bf16(matrix) => matrix.depth,
            Self::F32(matrix) => matrix.depth,
            Self::Codes { depth, .. } => depth,
        }
    }
}

/// Part of a matrix: as many rows as a vector has items, or fewer or none, and a part of the summed axis.
#[derive(Clone, Copy)]
pub(in crate::ops::fused::host) struct Strip<'a> {
    pub(super) operand: &'a Operand<'a>,
    pub(super) row: usize,
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) values: usize,
}

/// Packs a strip: the items of its rows, vector after vector at a distance of `stride` items; zeros stand for rows and
/// values that are not there. What a vector has beyond `stride` is overwritten by the next, or lies behind the last.
///
/// # Safety
/// The CPU has the level, the strip is within its matrix, and there is room for the items and for one vector more.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions, on memory")]
pub(super) unsafe fn strip<U: Unit>(strip: Strip<'_>, items: *mut u32, stride: usize) {
    let Strip { row, depth, .. } = strip;
    // SAFETY: rows and values that are read are those of the strip, which is within the matrix.
    unsafe {
        match *strip.operand {
            Operand::Bf16(matrix) if matrix.is_by_rows => {
                let first = matrix.values.as_ptr().wrapping_add(row * matrix.stride + depth);
                by_rows::<U>(
                    strip,
                    items,
                    stride,
                    #[inline(always)]
                    |row, value, count| {
                        let values = first.add(row * matrix.stride + value);
                        ahead(values.wrapping_add(2 * U::LANES * matrix.stride));
                        match count < U::LANES * U::DEPTH {
                            true => U::of_bf16(padded(values, count).as_ptr()),
                            false => U::of_bf16(values),
                        }
                    },
                );
            }
            Operand::Bf16(matrix) => by_columns::<U, _>(
                matrix,
                strip,
                items,
                stride,
                #[inline(always)]
                |columns| U::of_columns(columns),
            ),
            Operand::F32(matrix) if matrix.is_by_rows => {
                let first = matrix.values.as_ptr().wrapping_add(row * matrix.stride + depth);
                by_rows::<U>(
                    strip,
                    items,
                    stride,
                    #[inline(always)]
                    |row, value, count| {
                        let values = first.add(row * matrix.stride + value);
                        match count < U::LANES * U::DEPTH {
                            true => U::of_f32(padded(values, count).as_ptr()),
                            false => U::of_f32(values),
                        }
                    },
                );
            }
            Operand::F32(matrix) => by_columns::<U, _>(
                matrix,
                strip,
                items,
                stride,
                #[inline(always)]
                |[column, _]| U::of_f32(column),
            ),
            Operand::Codes { codes, scales, depth: width } => {
                let first = codes.as_ptr().wrapping_add(row * width + depth);
                let blocks = width.div_ceil(BLOCK_VALUES);
                by_rows::<U>(
                    strip,
                    items,
                    stride,
                    #[inline(always)]
                    |index, value, count| {
                        let scale = *scales.get_unchecked((row + index) * blocks + (depth + value) / BLOCK_VALUES);
                        let codes = first.add(index * width + value);
                        ahead(codes.wrapping_add(2 * U::LANES * width));
                        match count < U::LANES * U::DEPTH {
                            true => U::of_codes(padded(codes, count).as_ptr(), scale),
                            false => U::of_codes(codes, scale),
                        }
                    },
                );
            }
        }
    }
}

/// `load` gives the items of a row from a value on, of which so many are there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions, on memory")]
unsafe fn by_rows<U: Unit>(
    strip: Strip<'_>,
    items: *mut u32,
    stride: usize,
    load: impl Fn(usize, usize, usize) -> U::Vector,
) {
    let Strip { rows, values, .. } = strip;
    let count = values.div_ceil(U::DEPTH);
    for first in (0..count).step_by(U::LANES) {
        // SAFETY: the caller's; as many items are written as there are.
        unsafe {
            let mut vectors = [U::zero(); MOST_LANES];
            for (row, vector) in vectors.iter_mut().enumerate().take(rows) {
                *vector = load(row, first * U::DEPTH, values - first * U::DEPTH);
            }
            U::transpose(&mut vectors);
            for (index, vector) in vectors.into_iter().enumerate().take(U::LANES.min(count - first)) {
                U::store(vector, items.add((first + index) * stride));
            }
        }
    }
}

/// Of columns, neighbours of a column stand side by side as they are. `load` gives the items of a column, and of the one
/// behind it where an item has two.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions, on memory")]
unsafe fn by_columns<U: Unit, T: bytemuck::Pod>(
    matrix: Matrix<'_, T>,
    strip: Strip<'_>,
    items: *mut u32,
    stride: usize,
    load: impl Fn([*const T; 2]) -> U::Vector,
) {
    let Strip { row, depth, values, .. } = strip;
    let zeros = [T::zeroed(); MOST_VALUES];
    let there = (matrix.rows - row).min(U::LANES);
    for (index, value) in (0..values).step_by(U::DEPTH).enumerate() {
        // SAFETY: the column is one of the strip's, and as many of its values are read as it has.
        unsafe {
            let column = matrix.values.as_ptr().wrapping_add((depth + value) * matrix.stride + row);
            let next = column.wrapping_add(matrix.stride);
            let has_next = value + 1 < values && U::DEPTH > 1;
            let vector = match there < U::LANES {
                true => {
                    let next = if has_next { padded(next, there) } else { zeros };
                    load([padded(column, there).as_ptr(), next.as_ptr()])
                }
                false => load([column, if has_next { next } else { zeros.as_ptr() }]),
            };
            U::store(vector, items.add(index * stride));
        }
    }
}

/// Asks for memory that will be read soon.
#[inline(always)]
#[expect(unsafe_code, reason = "an instruction that only hints")]
fn ahead<T>(values: *const T) {
    // SAFETY: nothing is read, wherever this points.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(values.cast()) };
}

/// Values that a vector is made of.
const MOST_VALUES: usize = 32;

/// The values that are there, then zeros.
#[inline(always)]
#[expect(unsafe_code, reason = "reads a part of a vector")]
unsafe fn padded<T: bytemuck::Pod>(values: *const T, count: usize) -> [T; MOST_VALUES] {
    let mut padded = [T::zeroed(); MOST_VALUES];
    // SAFETY: the caller has seen that so many are there.
    let values = unsafe { std::slice::from_raw_parts(values, count.min(MOST_VALUES)) };
    padded[..values.len()].copy_from_slice(values);
    padded
}

//! From sums to the matrix that is asked for.

use crate::ops::fused::host::Value;

/// Where the sums of a tile go.
pub(in crate::ops::fused::host) struct Place<'a, T> {
    /// The first value.
    pub(super) values: *mut T,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// From one row to the next.
    pub(super) stride: usize,
    /// Added to each row; one value for each column.
    pub(super) bias: Option<&'a [f32]>,
}

/// The most columns of a tile.
const MOST_COLUMNS: usize = 32;

/// Adds the bias to sums of `width` columns, and rounds them into their place.
///
/// # Safety
/// The place is within a matrix, and nobody else writes to it now.
#[inline(always)]
#[expect(unsafe_code, reason = "tasks write to one matrix, each its own part")]
pub(super) unsafe fn write<T: Value>(sums: &[f32], width: usize, place: Place<'_, T>) {
    let mut bias = [0.0; MOST_COLUMNS];
    if let Some(values) = place.bias {
        bias[..place.columns].copy_from_slice(&values[..place.columns]);
    }
    for row in 0..place.rows {
        // SAFETY: the caller says that these values are there, and this task's alone.
        let output = unsafe { std::slice::from_raw_parts_mut(place.values.add(row * place.stride), place.columns) };
        let sums = &sums[row * width..][..place.columns];
        T::write(
            output,
            &mut [0.0; MOST_COLUMNS],
            #[inline(always)]
            |output| {
                for (output, (&sum, &bias)) in output.iter_mut().zip(sums.iter().zip(&bias)) {
                    *output = sum + bias;
                }
            },
        );
    }
}

//! From sums to the matrix that is asked for.

use std::arch::x86_64::*;

use half::bf16;

use super::tiles::{PANEL_ROWS, ROWS, Sums};
use crate::ops::fused::host::vectors::{mask, transpose, write_rounded};

/// Rounds sums, times a factor, into memory, as many as there is room for.
#[cfg(feature = "flex")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "writes a part of a vector")]
pub(super) fn write_row(sums: &[f32; ROWS], factor: f32, output: &mut [bf16]) {
    let mask = mask(output.len().min(ROWS)) as u16;
    // SAFETY: sixteen sums are read, and as many values written as there is room for.
    unsafe {
        let values = _mm512_mul_ps(_mm512_loadu_ps(sums.as_ptr()), _mm512_set1_ps(factor));
        write_rounded(values, mask, output.as_mut_ptr());
    }
}

/// Where sums go.
pub(super) struct Output<'a> {
    pub(super) values: *mut bf16,
    pub(super) dims: [usize; 2],
    /// Added to each row.
    pub(super) bias: Option<&'a [f32]>,
    /// Whether the second panel has the rows.
    pub(super) is_transposed: bool,
}

#[expect(unsafe_code, reason = "tasks write to one matrix, each its own part")]
// SAFETY: `write` asks its caller for parts that do not meet.
unsafe impl Sync for Output<'_> {}

impl Output<'_> {
    /// Rounds the sums of two panels, `first` and `second`, into their place.
    ///
    /// # Safety
    /// Nobody else writes to that part now, the memory is as large as `dims`, and the bias has a value for each column.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[expect(unsafe_code, reason = "tasks write to one matrix, each its own part")]
    pub(super) unsafe fn write(&self, sums: &Sums, [first, second]: [usize; 2]) {
        for tile in if self.is_transposed { [0, 2, 1, 3] } else { [0, 1, 2, 3] } {
            let place = [first * PANEL_ROWS + tile / 2 * ROWS, second * PANEL_ROWS + tile % 2 * ROWS];
            let mut vectors = sums.vectors(tile);
            let [row, column] = if self.is_transposed { [place[1], place[0]] } else { place };
            let [rows, columns] = self.dims;
            if row >= rows || column >= columns {
                continue;
            }
            if self.is_transposed {
                transpose(&mut vectors);
            }
            let mask = mask(ROWS.min(columns - column)) as u16;
            let bias = match self.bias {
                // SAFETY: reads as many values as the mask says.
                Some(bias) => unsafe { _mm512_maskz_loadu_ps(mask, bias[column..].as_ptr()) },
                None => _mm512_setzero_ps(),
            };
            for (index, vector) in vectors.into_iter().enumerate().take(rows - row) {
                let values = _mm512_add_ps(_mm512_castsi512_ps(vector), bias);
                // SAFETY: the row is within the matrix, and the mask ends with it.
                unsafe { write_rounded(values, mask, self.values.add((row + index) * columns + column)) };
            }
        }
    }
}

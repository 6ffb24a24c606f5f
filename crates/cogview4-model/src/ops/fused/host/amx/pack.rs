//! From matrices to panels of tiles.

use std::{
    arch::x86_64::*,
    mem::{MaybeUninit, transmute},
};

use half::bf16;

use super::tiles::{DEPTH, PANEL_ROWS, ROWS, Step};
use crate::ops::fused::host::{
    matrix::Matrix,
    vectors::{mask, transpose},
};

/// What a panel is to the unit.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// Its tiles have the matrix's rows.
    A,
    /// Its tiles are transposed by pairs of values.
    B,
}

impl Matrix<'_> {
    /// Number of panels.
    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// Packs steps of a panel, from the step `first`; zeros are beyond the matrix.
    #[expect(unsafe_code, reason = "vector instructions, which the CPU has where it has the unit")]
    pub(super) fn pack<'b>(
        &self,
        role: Role,
        panel: usize,
        first: usize,
        steps: &'b mut [MaybeUninit<Step>],
    ) -> &'b [Step] {
        let is_natural = self.is_by_rows == (role == Role::A);
        for (index, step) in steps.iter_mut().enumerate() {
            let (row, depth) = (panel * PANEL_ROWS, (first + index) * DEPTH);
            // SAFETY: the CPU has the instructions.
            unsafe {
                let mut halves = if self.is_by_rows { self.load_rows(row, depth) } else { self.load_pairs(row, depth) };
                if !is_natural {
                    halves.iter_mut().for_each(|tile| transpose(tile));
                }
                // A step is two tiles of 16 vectors.
                step.write(transmute::<[[__m512i; ROWS]; 2], Step>(halves));
            }
        }
        // SAFETY: each was written.
        unsafe { steps.assume_init_ref() }
    }

    /// Packs all panels, one after the other.
    #[cfg(feature = "flex")]
    #[expect(unsafe_code, reason = "memory that is written before it is read")]
    pub(super) fn pack_all<'b>(&self, role: Role, steps: &'b mut Vec<MaybeUninit<Step>>) -> &'b [Step] {
        let of_panel = self.depth.div_ceil(DEPTH);
        steps.resize_with(self.panels() * of_panel, MaybeUninit::uninit);
        for (panel, steps) in steps.chunks_exact_mut(of_panel).enumerate() {
            self.pack(role, panel, 0, steps);
        }
        // SAFETY: each was packed.
        unsafe { steps.assume_init_ref() }
    }

    /// Asks for the memory of a panel's steps: the part `part` of `parts`.
    pub(super) fn prefetch(&self, panel: usize, first: usize, steps: usize, [part, parts]: [usize; 2]) {
        let (row, depth) = (panel * PANEL_ROWS, first * DEPTH);
        let lines = if self.is_by_rows { PANEL_ROWS } else { steps * DEPTH };
        let share = lines.div_ceil(parts);
        for line in part * share..lines.min((part + 1) * share) {
            match self.is_by_rows {
                true => (0..steps).for_each(|step| self.hint((row + line) * self.stride + depth + step * DEPTH)),
                false => self.hint((depth + line) * self.stride + row),
            }
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "an instruction that only hints")]
    fn hint(&self, value: usize) {
        // SAFETY: nothing is read, wherever this points.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(self.values.as_ptr().wrapping_add(value).cast()) };
    }

    /// Two tiles of 16 rows of 32 values.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn load_rows(&self, row: usize, depth: usize) -> [[__m512i; ROWS]; 2] {
        let mut halves = [[_mm512_setzero_si512(); ROWS]; 2];
        let mask = mask(self.depth.saturating_sub(depth));
        for (index, vector) in halves.as_flattened_mut().iter_mut().enumerate() {
            if row + index < self.rows {
                *vector = load(&self.values[(row + index) * self.stride..][..self.depth], depth, mask);
            }
        }
        halves
    }

    /// Two tiles of 16 pairs of columns by 16 rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn load_pairs(&self, row: usize, depth: usize) -> [[__m512i; ROWS]; 2] {
        const LEFT: [u16; DEPTH] = interleaved(0);
        const RIGHT: [u16; DEPTH] = interleaved(ROWS as u16);
        let mut halves = [[_mm512_setzero_si512(); ROWS]; 2];
        let mask = mask(self.rows - row);
        let column = |depth: usize| match depth < self.depth {
            true => load(&self.values[depth * self.stride..][..self.rows], row, mask),
            false => _mm512_setzero_si512(),
        };
        let [left, right] = [LEFT, RIGHT].map(vector);
        let [first, second] = &mut halves;
        for (pair, (first, second)) in first.iter_mut().zip(second).enumerate() {
            let (even, odd) = (column(depth + 2 * pair), column(depth + 2 * pair + 1));
            *first = _mm512_permutex2var_epi16(even, left, odd);
            *second = _mm512_permutex2var_epi16(even, right, odd);
        }
        halves
    }
}

/// 32 values from `start`, as far as the mask says; zeros beyond.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "reads a part of a vector")]
fn load(values: &[bf16], start: usize, mask: u32) -> __m512i {
    assert!(start + mask.count_ones() as usize <= values.len() || mask == 0, "invariant: values that are there");
    // SAFETY: by the assertion; masked values are not read.
    unsafe { _mm512_maskz_loadu_epi16(mask, values.as_ptr().wrapping_add(start).cast()) }
}

/// Indices that take turns between two vectors of 32 values.
const fn interleaved(start: u16) -> [u16; DEPTH] {
    let mut indices = [0; DEPTH];
    let mut index = 0;
    while index < DEPTH {
        indices[index] = start + index as u16 / 2 + if index % 2 == 0 { 0 } else { DEPTH as u16 };
        index += 1;
    }
    indices
}

#[expect(unsafe_code, reason = "bits are bits")]
fn vector(values: [u16; DEPTH]) -> __m512i {
    // SAFETY: both are 64 bytes.
    unsafe { transmute(values) }
}

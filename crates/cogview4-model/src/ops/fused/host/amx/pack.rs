//! From matrices to panels of tiles, and from sums to a matrix.

use std::{
    arch::x86_64::*,
    mem::{MaybeUninit, transmute},
};

use half::bf16;

use super::tiles::{DEPTH, PANEL_ROWS, ROWS, Step, Sums};

/// One side of a product, `[rows, depth]`, where `depth` is the axis that is summed over.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [bf16],
    pub(super) rows: usize,
    pub(super) depth: usize,
    /// Whether the values of a row lie next to each other; else those of a column.
    pub(super) is_by_rows: bool,
}

/// What a panel is to the unit.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// Its tiles have the matrix's rows.
    A,
    /// Its tiles are transposed by pairs of values.
    B,
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

impl<'a> Matrix<'a> {
    /// Of values `[rows, depth]`.
    pub(super) fn by_rows(values: &'a [bf16], rows: usize, depth: usize) -> Self {
        Self::new(values, rows, depth, true)
    }

    /// Of values `[depth, rows]`.
    pub(super) fn by_columns(values: &'a [bf16], rows: usize, depth: usize) -> Self {
        Self::new(values, rows, depth, false)
    }

    fn new(values: &'a [bf16], rows: usize, depth: usize, is_by_rows: bool) -> Self {
        assert_eq!(values.len(), rows * depth, "invariant: all values of the matrix");
        Self { values, rows, depth, is_by_rows }
    }

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

    /// Asks for the memory of a panel's steps: the part `part` of `parts`.
    pub(super) fn prefetch(&self, panel: usize, first: usize, steps: usize, [part, parts]: [usize; 2]) {
        let (row, depth) = (panel * PANEL_ROWS, first * DEPTH);
        let lines = if self.is_by_rows { PANEL_ROWS } else { steps * DEPTH };
        let share = lines.div_ceil(parts);
        for line in part * share..lines.min((part + 1) * share) {
            match self.is_by_rows {
                true => (0..steps).for_each(|step| self.hint((row + line) * self.depth + depth + step * DEPTH)),
                false => self.hint((depth + line) * self.rows + row),
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
                *vector = load(&self.values[(row + index) * self.depth..][..self.depth], depth, mask);
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
            true => load(&self.values[depth * self.rows..][..self.rows], row, mask),
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

impl Output<'_> {
    /// Rounds the sums of two panels, `first` and `second`, into their place.
    ///
    /// # Safety
    /// Nobody else writes to that part now, and the memory is as large as `dims`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[expect(unsafe_code, reason = "tasks write to one matrix, each its own part")]
    pub(super) unsafe fn write(&self, sums: &Sums, [first, second]: [usize; 2]) {
        for tile in if self.is_transposed { [0, 2, 1, 3] } else { [0, 1, 2, 3] } {
            let sums = &sums.0[tile];
            let place = [first * PANEL_ROWS + tile / 2 * ROWS, second * PANEL_ROWS + tile % 2 * ROWS];
            // SAFETY: 16 vectors of 16 values each.
            let mut vectors = unsafe { *std::ptr::from_ref(sums).cast::<[__m512i; ROWS]>() };
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
                let values = _mm512_cvtneps_pbh(_mm512_add_ps(_mm512_castsi512_ps(vector), bias));
                // SAFETY: the row is within the matrix, and the mask ends with it; both vectors are 32 bytes.
                unsafe {
                    let values = transmute::<__m256bh, __m256i>(values);
                    _mm256_mask_storeu_epi16(self.values.add((row + index) * columns + column).cast(), mask, values);
                }
            }
        }
    }
}

/// Bits for as many values as there are, of 32.
fn mask(values: usize) -> u32 {
    if values >= DEPTH { u32::MAX } else { (1 << values) - 1 }
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

/// Transposes 16 by 16 values of 32 bits.
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512i; ROWS]) {
    let mut turned = *rows;
    for i in 0..8 {
        turned[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        turned[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    for i in (0..ROWS).step_by(4) {
        rows[i] = _mm512_unpacklo_epi64(turned[i], turned[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(turned[i], turned[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(turned[i + 1], turned[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(turned[i + 1], turned[i + 3]);
    }
    for i in 0..4 {
        for half in [0, 8] {
            turned[half + i] = _mm512_shuffle_i32x4::<0x88>(rows[half + i], rows[half + i + 4]);
            turned[half + i + 4] = _mm512_shuffle_i32x4::<0xdd>(rows[half + i], rows[half + i + 4]);
        }
    }
    for i in 0..8 {
        rows[i] = _mm512_shuffle_i32x4::<0x88>(turned[i], turned[i + 8]);
        rows[i + 8] = _mm512_shuffle_i32x4::<0xdd>(turned[i], turned[i + 8]);
    }
}

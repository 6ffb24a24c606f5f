//! From a row of scores to weights, and from gradients of weights to those of scores.

use std::arch::x86_64::*;

use half::bf16;

use super::super::tiles::{DEPTH, PANEL_ROWS, ROWS, Step, Sums};
use crate::ops::fused::{host::vectors::write_rounded, simd};

/// A row of a panel of queries.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) row: usize,
    /// Keys that it sees.
    pub(super) seen: usize,
    pub(super) scale: f32,
    pub(super) bias: Option<&'a [f32]>,
}

impl Row<'_> {
    /// Turns scores into exponentials, in two parts, with zeros for keys that are not seen. Gives the largest score, scaled
    /// and biased, and the sum of the exponentials.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[expect(unsafe_code, reason = "writes vectors")]
    pub(super) fn weights(self, scores: &mut [Sums], [rounded, rest]: [&mut &mut [Step]; 2]) -> (f32, f32) {
        let mut largest = [f32::NEG_INFINITY; ROWS];
        for (panel, scores) in scores.iter_mut().enumerate() {
            for half in 0..2 {
                let scores = scores.lanes_mut(self.row, half);
                self.finish(panel * PANEL_ROWS + half * ROWS, scores);
                for (largest, &score) in largest.iter_mut().zip(scores.iter()) {
                    *largest = if score > *largest { score } else { *largest };
                }
            }
        }
        let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0; ROWS];
        for ((scores, rounded), rest) in scores.iter_mut().zip(rounded.iter_mut()).zip(rest.iter_mut()) {
            for half in 0..2 {
                let scores = scores.lanes_mut(self.row, half);
                for (sum, score) in sums.iter_mut().zip(scores.iter_mut()) {
                    *score = simd::exp(*score - largest);
                    *sum += *score;
                }
                let [rounded, rest] = [&mut *rounded, &mut *rest].map(|steps| steps.lanes_mut(self.row, half));
                // SAFETY: sixteen values of each.
                unsafe {
                    let weights = _mm512_loadu_ps(scores.as_ptr());
                    write_rounded(weights, u16::MAX, rounded.as_mut_ptr());
                    let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(rounded.as_ptr().cast()));
                    let wide = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide));
                    write_rounded(_mm512_sub_ps(weights, wide), u16::MAX, rest.as_mut_ptr());
                }
            }
        }
        (largest, sums.iter().sum())
    }

    /// Scales, biases, and hides what is not seen, of the scores from this key on.
    #[inline(always)]
    fn finish(self, key: usize, scores: &mut [f32; ROWS]) {
        for score in scores.iter_mut() {
            *score *= self.scale;
        }
        let count = self.seen.saturating_sub(key).min(ROWS);
        if let Some(bias) = self.bias {
            for (score, bias) in scores[..count].iter_mut().zip(&bias[key.min(bias.len())..]) {
                *score += bias;
            }
        }
        scores[count..].fill(f32::NEG_INFINITY);
    }
}

/// A row whose gradients are asked for.
#[derive(Clone, Copy)]
pub(super) struct Gradient<'a> {
    pub(super) row: Row<'a>,
    pub(super) logsumexp: f32,
    /// The sum of the weights times their gradients.
    pub(super) delta: f32,
}

impl Gradient<'_> {
    /// Turns scores and gradients of weights of two rows that follow each other, over a panel of keys, into gradients of
    /// scores, as rows of a first side. These and the weights also become rows of second sides, turned: a value of one
    /// row beside that of the other.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[expect(unsafe_code, reason = "writes vectors")]
    pub(super) fn of_pair(
        rows: &[Self; 2],
        panel: usize,
        [scores, of_weights]: [&mut Sums; 2],
        of_scores: &mut Step,
        turned: [&mut Step; 2],
    ) {
        let [turned_weights, turned_scores] = turned;
        for half in 0..2 {
            let mut narrow = [[bf16::ZERO; ROWS]; 4];
            for (index, of_row) in rows.iter().enumerate() {
                let Self { row, logsumexp, delta } = *of_row;
                let weights = scores.lanes_mut(row.row, half);
                row.finish(panel * PANEL_ROWS + half * ROWS, weights);
                let gradients = of_weights.lanes_mut(row.row, half);
                for (weight, gradient) in weights.iter_mut().zip(gradients.iter_mut()) {
                    *weight = simd::exp(*weight - logsumexp);
                    *gradient = *weight * (*gradient - delta) * row.scale;
                }
                // SAFETY: sixteen values of each.
                unsafe {
                    write_rounded(_mm512_loadu_ps(weights.as_ptr()), u16::MAX, narrow[index].as_mut_ptr());
                    write_rounded(_mm512_loadu_ps(gradients.as_ptr()), u16::MAX, narrow[2 + index].as_mut_ptr());
                }
                *of_scores.lanes_mut(row.row, half) = narrow[2 + index];
            }
            let pair = half * ROWS + rows[0].row.row / 2;
            let [first_weights, second_weights, first, second] = narrow;
            *turned_weights.line_mut(pair) = beside([first_weights, second_weights]);
            *turned_scores.line_mut(pair) = beside([first, second]);
        }
    }
}

/// Values of one beside those of the other.
#[inline(always)]
fn beside([first, second]: [[bf16; ROWS]; 2]) -> [bf16; DEPTH] {
    let mut values = [bf16::ZERO; DEPTH];
    for (pair, (first, second)) in values.as_chunks_mut().0.iter_mut().zip(first.into_iter().zip(second)) {
        *pair = [first, second];
    }
    values
}

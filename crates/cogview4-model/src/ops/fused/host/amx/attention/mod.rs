//! Attention on the matrix unit. Keys and values of a head are packed once; a panel of 32 queries has the scores of all
//! keys in a row of sums, from which its weights go straight into the tiles of the second product. Each weight is two
//! values of bfloat16, itself rounded and what that leaves, so that nothing is lost but the output's rounding.

mod backward;
mod softmax;

use std::mem::MaybeUninit;

use half::bf16;

use self::softmax::Row;
use super::{
    output::write_row,
    pack::Role,
    tiles::{DEPTH, MOST_STEPS, PANEL_ROWS, ROWS, Step, Sums, Tiles},
};
use crate::ops::fused::host::{
    attention::{Head, Saved},
    matrix::Matrix,
};

pub(in crate::ops::fused::host) use super::LEAST_WORK;
pub(in crate::ops::fused) use backward::{Backward, backward_bytes};

impl Head<'_> {
    fn keys(&self) -> usize {
        self.key.len() / self.head_dim
    }

    /// Panels of keys.
    fn panels(&self) -> usize {
        self.keys().div_ceil(PANEL_ROWS)
    }

    /// Steps, or panels, of `head_dim`.
    fn depth(&self) -> usize {
        const { assert!(DEPTH == PANEL_ROWS) };
        self.head_dim.div_ceil(DEPTH)
    }
}

/// What a thread has: keys and values of the head that it worked on last, and what a panel of queries needs.
#[derive(Default)]
pub(in crate::ops::fused) struct Scratch {
    head: Option<usize>,
    key: Vec<MaybeUninit<Step>>,
    value: Vec<MaybeUninit<Step>>,
    query: Vec<MaybeUninit<Step>>,
    scores: Vec<Sums>,
    /// Rounded, and what rounding leaves.
    weights: [Vec<Step>; 2],
    output: Vec<Sums>,
}

impl Scratch {
    /// Output and logarithms of the sums for queries `[rows, head_dim]`, of which each sees so many keys.
    #[expect(unsafe_code, reason = "memory that is written before it is read; vector instructions")]
    pub(in crate::ops::fused) fn forward(
        &mut self,
        head: Head<'_>,
        queries: &[bf16],
        seen: impl Fn(usize) -> usize,
        output: &mut [bf16],
        logsumexp: &mut [f32],
    ) {
        let (rows, depth, panels) = (logsumexp.len(), head.depth(), head.panels());
        self.pack(head);
        self.query.resize_with(depth, MaybeUninit::uninit);
        self.output.resize(depth, Sums::default());
        let queries = Matrix::by_rows(queries, rows, head.head_dim);
        // SAFETY: `pack` has written all of them.
        let [key, value] = [&self.key, &self.value].map(|steps| unsafe { steps.assume_init_ref() });
        let tiles = Tiles::set_up();
        for first in (0..rows).step_by(PANEL_ROWS) {
            let of_panel = PANEL_ROWS.min(rows - first);
            // Keys behind the last row's are seen by none of the panel's.
            let panels_seen = seen(first + of_panel - 1).div_ceil(PANEL_ROWS);
            let query = queries.pack(Role::A, first / PANEL_ROWS, 0, &mut self.query);
            let scores = &mut self.scores[..panels_seen];
            for (key, sums) in key.chunks_exact(depth).zip(scores.iter_mut()) {
                multiply(&tiles, query, key, sums, true);
            }
            let mut weights = self.weights.each_mut().map(|steps| &mut steps[..panels_seen]);
            let mut inverse = [0.0; PANEL_ROWS];
            for row in 0..of_panel {
                let of_row = Row { row, seen: seen(first + row), scale: head.scale, bias: head.bias };
                // SAFETY: the CPU has the instructions where it has the unit.
                let (largest, sum) = unsafe { of_row.weights(scores, weights.each_mut()) };
                (inverse[row], logsumexp[first + row]) = (1.0 / sum, largest + sum.ln());
            }
            for (value, sums) in value.chunks_exact(panels).zip(&mut self.output) {
                for (index, weights) in weights.iter().enumerate() {
                    multiply(&tiles, weights, &value[..panels_seen], sums, index == 0);
                }
            }
            for row in 0..of_panel {
                let output = &mut output[(first + row) * head.head_dim..][..head.head_dim];
                for (index, output) in output.chunks_mut(ROWS).enumerate() {
                    let sums = self.output[index / 2].lanes_mut(row, index % 2);
                    // SAFETY: the CPU has the instructions where it has the unit.
                    unsafe { write_row(sums, inverse[row], output) };
                }
            }
        }
    }

    /// Keys by rows, for the products with queries, and values by columns, for those with weights.
    fn pack(&mut self, head: Head<'_>) {
        if self.head == Some(head.index) {
            return;
        }
        let (keys, panels) = (head.keys(), head.panels());
        Matrix::by_rows(head.key, keys, head.head_dim).pack_all(Role::B, &mut self.key);
        Matrix::by_columns(head.value, head.head_dim, keys).pack_all(Role::B, &mut self.value);
        self.scores.resize(panels, Sums::default());
        self.weights.iter_mut().for_each(|steps| steps.resize(panels, bytemuck::Zeroable::zeroed()));
        self.head = Some(head.index);
    }
}

/// `sums += a b^T`, or `sums = a b^T` where `is_first`, of panels of any depth.
fn multiply(tiles: &Tiles, a: &[Step], b: &[Step], sums: &mut Sums, is_first: bool) {
    for (index, (a, b)) in a.chunks(MOST_STEPS).zip(b.chunks(MOST_STEPS)).enumerate() {
        tiles.multiply(a, b, sums, is_first && index == 0);
    }
}

#[cfg(test)]
mod tests;

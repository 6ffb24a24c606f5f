//! The backward of a head. Scores are computed again, a panel of 32 queries at a time; the gradients of keys and values
//! are summed turned, over the queries of a block at once.

use std::mem::MaybeUninit;

use half::bf16;

use super::{
    Head, Saved, multiply,
    softmax::{Gradient, Row},
};
use crate::ops::fused::host::{
    amx::{
        output::Output,
        pack::Role,
        tiles::{DEPTH, PANEL_ROWS, ROWS, Step, Sums, Tiles},
    },
    matrix::Matrix,
};

/// Panels of queries whose products with keys and values are summed at once.
const BLOCK_PANELS: usize = 4;
const BLOCK: usize = BLOCK_PANELS * PANEL_ROWS;

/// Bytes that a thread has for a head of so many queries, keys and values in each.
pub(in crate::ops::fused) fn backward_bytes([_, keys, head_dim]: [usize; 3]) -> u64 {
    let (panels, depth) = (keys.div_ceil(PANEL_ROWS), head_dim.div_ceil(DEPTH));
    let steps = 3 * panels * depth + panels + 2 * panels * BLOCK_PANELS;
    let sums = 2 * panels + 2 * panels * depth;
    (steps * size_of::<Step>() + sums * size_of::<Sums>()) as u64
}

/// What a thread needs beside the tensors.
#[derive(Default)]
pub(in crate::ops::fused) struct Backward {
    keys: Keys,
    panel: Panel,
    block: Block,
}

impl Backward {
    /// Gradients of queries, keys and values, of queries of which each sees so many keys.
    pub(in crate::ops::fused) fn run(
        &mut self,
        head: Head<'_>,
        saved: Saved<'_>,
        seen: impl Fn(usize) -> usize,
        [of_query, of_key, of_value]: [&mut [bf16]; 3],
    ) {
        let (rows, keys) = (saved.logsumexp.len(), head.keys());
        assert_eq!(of_query.len(), rows * head.head_dim, "invariant: a gradient for each query");
        assert_eq!([of_key.len(), of_value.len()], [keys * head.head_dim; 2], "invariant: gradients for all keys");
        let packed = self.keys.pack(head);
        self.panel.set_up(head);
        self.block.set_up(head);
        let tiles = Tiles::set_up();
        for first in (0..rows).step_by(BLOCK) {
            let of_block = rows.min(first + BLOCK) - first;
            for panel in 0..of_block.div_ceil(PANEL_ROWS) {
                let start = first + panel * PANEL_ROWS;
                let of_panel = PANEL_ROWS.min(rows - start);
                self.panel.scores(&tiles, head, packed, saved, [start, of_panel]);
                self.panel.gradients((head, saved), [start, of_panel], &seen, (&mut self.block, panel));
                let output = &mut of_query[start * head.head_dim..][..of_panel * head.head_dim];
                self.panel.queries(&tiles, packed, output, head.head_dim);
            }
            self.block.add(&tiles, head, saved, [first, of_block]);
        }
        drop(tiles);
        self.block.write(head, [of_value, of_key]);
    }
}

/// The keys of a head, packed.
#[derive(Default)]
struct Keys {
    by_rows: [Vec<MaybeUninit<Step>>; 2],
    by_columns: Vec<MaybeUninit<Step>>,
}

/// Keys and values by rows, for products over `head_dim`, and keys by columns.
#[derive(Clone, Copy)]
struct Packed<'a> {
    key: &'a [Step],
    value: &'a [Step],
    turned_key: &'a [Step],
}

impl Keys {
    fn pack(&mut self, head: Head<'_>) -> Packed<'_> {
        let by_rows = |values| Matrix::by_rows(values, head.keys(), head.head_dim);
        let [key, value] = &mut self.by_rows;
        Packed {
            key: by_rows(head.key).pack_all(Role::B, key),
            value: by_rows(head.value).pack_all(Role::B, value),
            turned_key: Matrix::by_columns(head.key, head.head_dim, head.keys())
                .pack_all(Role::B, &mut self.by_columns),
        }
    }
}

/// What is there of 32 queries.
#[derive(Default)]
struct Panel {
    /// Queries, and the gradient of the output.
    sides: [Vec<MaybeUninit<Step>>; 2],
    /// Scores, and the gradients of their weights.
    sums: [Vec<Sums>; 2],
    of_scores: Vec<Step>,
    of_query: Vec<Sums>,
}

impl Panel {
    fn set_up(&mut self, head: Head<'_>) {
        self.sums.iter_mut().for_each(|sums| sums.resize(head.panels(), Sums::default()));
        self.of_scores.resize(head.panels(), bytemuck::Zeroable::zeroed());
        self.of_query.resize(head.depth(), Sums::default());
    }

    fn scores(
        &mut self,
        tiles: &Tiles,
        head: Head<'_>,
        packed: Packed<'_>,
        saved: Saved<'_>,
        [start, count]: [usize; 2],
    ) {
        let values = start * head.head_dim..(start + count) * head.head_dim;
        let sides = [(saved.query, packed.key), (saved.grad, packed.value)];
        for (((values, others), steps), sums) in sides
            .map(|(side, others)| (&side[values.clone()], others))
            .into_iter()
            .zip(&mut self.sides)
            .zip(&mut self.sums)
        {
            let steps = Matrix::by_rows(values, count, head.head_dim).pack_all(Role::A, steps);
            for (other, sums) in others.chunks_exact(head.depth()).zip(sums) {
                multiply(tiles, steps, other, sums, true);
            }
        }
    }

    /// From scores to their gradients; weights and gradients go to the block too.
    #[expect(unsafe_code, reason = "vector instructions, which the CPU has where it has the unit")]
    fn gradients(
        &mut self,
        (head, saved): (Head<'_>, Saved<'_>),
        [start, count]: [usize; 2],
        seen: impl Fn(usize) -> usize,
        (block, panel): (&mut Block, usize),
    ) {
        let of_row = |row: usize| {
            let hidden = Row { row, seen: 0, scale: head.scale, bias: head.bias };
            if row >= count {
                return Gradient { row: hidden, logsumexp: 0.0, delta: 0.0 };
            }
            let values = (start + row) * head.head_dim..(start + row + 1) * head.head_dim;
            // The sum of weight times gradient over the row is that of output times gradient.
            let delta = saved.grad[values.clone()].iter().zip(&saved.output[values]);
            let delta = delta.map(|(grad, output)| grad.to_f32() * output.to_f32()).sum();
            let row = Row { seen: seen(start + row), ..hidden };
            Gradient { row, logsumexp: saved.logsumexp[start + row.row], delta }
        };
        for pair in 0..ROWS {
            let rows = [2 * pair, 2 * pair + 1].map(of_row);
            for index in 0..head.panels() {
                let [scores, of_weights] = &mut self.sums;
                let turned = block.turned.each_mut().map(|steps| &mut steps[index * BLOCK_PANELS + panel]);
                let sums = [&mut scores[index], &mut of_weights[index]];
                // SAFETY: the CPU has the instructions.
                unsafe { Gradient::of_pair(&rows, index, sums, &mut self.of_scores[index], turned) };
            }
        }
    }

    #[expect(unsafe_code, reason = "vector instructions, which the CPU has where it has the unit")]
    fn queries(&mut self, tiles: &Tiles, packed: Packed<'_>, output: &mut [bf16], head_dim: usize) {
        let dims = [output.len() / head_dim, head_dim];
        let output = Output { values: output.as_mut_ptr(), dims, bias: None, is_transposed: false };
        let keys = packed.turned_key.chunks_exact(self.of_scores.len());
        for (index, (key, sums)) in keys.zip(&mut self.of_query).enumerate() {
            multiply(tiles, &self.of_scores, key, sums, true);
            // SAFETY: the output is borrowed, and as large as it says.
            unsafe { output.write(sums, [0, index]) };
        }
    }
}

/// What is there of the queries of a block, and sums over all blocks.
#[derive(Default)]
struct Block {
    /// Weights, and gradients of the scores, `[keys, queries]`.
    turned: [Vec<Step>; 2],
    /// What they are multiplied with, `[head_dim, queries]`.
    side: Vec<MaybeUninit<Step>>,
    /// Gradients of values and keys, `[head_dim, keys]`.
    sums: [Vec<Sums>; 2],
}

impl Block {
    fn set_up(&mut self, head: Head<'_>) {
        self.turned.iter_mut().for_each(|steps| {
            steps.resize(head.panels() * BLOCK_PANELS, bytemuck::Zeroable::zeroed());
        });
        for sums in &mut self.sums {
            sums.clear();
            sums.resize(head.depth() * head.panels(), Sums::default());
        }
    }

    /// Adds what the queries of a block give.
    fn add(&mut self, tiles: &Tiles, head: Head<'_>, saved: Saved<'_>, [first, count]: [usize; 2]) {
        let (values, steps) = (first * head.head_dim..(first + count) * head.head_dim, count.div_ceil(PANEL_ROWS));
        let sides =
            [saved.grad, saved.query].map(|side| Matrix::by_columns(&side[values.clone()], head.head_dim, count));
        for ((side, turned), sums) in sides.iter().zip(&self.turned).zip(&mut self.sums) {
            let side = side.pack_all(Role::A, &mut self.side).chunks_exact(steps);
            for (side, sums) in side.zip(sums.chunks_exact_mut(head.panels())) {
                for (sums, turned) in sums.iter_mut().zip(turned.chunks_exact(BLOCK_PANELS)) {
                    multiply(tiles, side, &turned[..steps], sums, false);
                }
            }
        }
    }

    #[expect(unsafe_code, reason = "vector instructions, which the CPU has where it has the unit")]
    fn write(&self, head: Head<'_>, outputs: [&mut [bf16]; 2]) {
        for (sums, values) in self.sums.iter().zip(outputs) {
            let dims = [head.keys(), head.head_dim];
            let output = Output { values: values.as_mut_ptr(), dims, bias: None, is_transposed: true };
            for (index, sums) in sums.iter().enumerate() {
                // SAFETY: the output is borrowed, and as large as it says.
                unsafe { output.write(sums, [index / head.panels(), index % head.panels()]) };
            }
        }
    }
}

//! A product in blocks that fit the caches.
//!
//! A task has a block of the output. It goes through the summed axis chunk by chunk; of each chunk it packs the rows of
//! its left side, then one panel of columns after another, and multiplies each with all those rows while it is in the
//! first cache. How the output is cut follows from the number of threads; what a sum is does not.

use std::{cell::RefCell, ops::Range};

use rayon::prelude::*;

use super::{
    Value,
    blocks::{Chunks, Panels, task_size},
    output::Place,
    pack::{Operand, Strip},
    unit::{Kernels, Line, MOST_LANES},
};

/// Tasks a thread, at least, where the product is large enough.
const TASKS: usize = 4;
/// Multiplications from which a product is worth the threads it wakes.
const LEAST_WORK: usize = 1 << 18;

/// `output[i][j] = sum over k of rows[i][k] columns[j][k], + bias[j]`.
pub(super) struct Product<'a, T> {
    rows: Operand<'a>,
    columns: Operand<'a>,
    bias: Option<&'a [f32]>,
    output: *mut T,
}

#[expect(unsafe_code, reason = "tasks write to one matrix, each its own part")]
// SAFETY: each task writes to its own block of the output.
unsafe impl<T: Value> Sync for Product<'_, T> {}

/// What a thread needs beside the matrices.
#[derive(Default)]
struct Scratch {
    left: Vec<Line>,
    right: Vec<Line>,
    sums: Vec<Line>,
}

thread_local! {
    /// Kept from product to product: small ones would take longer to set it to zero than to multiply.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lines that are not written yet, or once were.
fn at_least(lines: &mut Vec<Line>, count: usize) {
    if lines.len() < count {
        lines.resize(count, Line::default());
    }
}

impl<'a, T: Value> Product<'a, T> {
    pub(super) fn new(rows: Operand<'a>, columns: Operand<'a>, bias: Option<&'a [f32]>, output: &'a mut [T]) -> Self {
        assert_eq!(rows.depth(), columns.depth(), "invariant: one axis that is summed over");
        assert_eq!(output.len(), rows.rows() * columns.rows(), "invariant: room for each sum");
        assert!(bias.is_none_or(|bias| bias.len() == columns.rows()), "invariant: a bias for each column");
        Self { rows, columns, bias, output: output.as_mut_ptr() }
    }

    /// Computes the output with a level that the CPU has.
    pub(super) fn run<U: Kernels>(&self) {
        let dims @ [rows, columns] = [self.rows.rows(), self.columns.rows()];
        let chunks = Chunks::new(self.rows.depth(), U::DEPTH, U::LANES * U::DEPTH);
        if rows * columns * self.rows.depth() < LEAST_WORK {
            return self.block::<U>(0..rows, 0..columns, chunks).run();
        }
        let [height, width] = task_size(dims, TASKS * rayon::current_num_threads(), U::WIDTH);
        let across = columns.div_ceil(width);
        (0..rows.div_ceil(height) * across).into_par_iter().for_each(|task| {
            let (row, column) = (task / across * height, task % across * width);
            self.block::<U>(row..rows.min(row + height), column..columns.min(column + width), chunks).run();
        });
    }

    fn block<U: Kernels>(&self, rows: Range<usize>, columns: Range<usize>, chunks: Chunks) -> Block<'_, T, U> {
        let panels = Panels::new(rows.clone(), U::MULTIPLY.len());
        Block { product: self, rows, columns, panels, chunks, level: std::marker::PhantomData }
    }
}

/// A block of the output.
struct Block<'a, T, U> {
    product: &'a Product<'a, T>,
    rows: Range<usize>,
    columns: Range<usize>,
    panels: Panels,
    chunks: Chunks,
    level: std::marker::PhantomData<U>,
}

impl<T: Value, U: Kernels> Block<'_, T, U> {
    /// Lines of the sums of a panel of rows and one of columns.
    const TILE: usize = U::MULTIPLY.len() * U::WIDTH / MOST_LANES;

    fn run(&self) {
        SCRATCH.with_borrow_mut(|scratch| self.run_with(scratch));
    }

    fn run_with(&self, scratch: &mut Scratch) {
        let items = self.chunks.longest().div_ceil(U::DEPTH);
        let has_many_chunks = self.chunks.count > 1;
        // Sums wait between chunks.
        let waiting = if has_many_chunks { self.columns.len().div_ceil(U::WIDTH) * self.panels.count } else { 1 };
        at_least(&mut scratch.left, (self.rows.len() * items).div_ceil(MOST_LANES) + 1);
        at_least(&mut scratch.right, (U::WIDTH * items).div_ceil(MOST_LANES));
        at_least(&mut scratch.sums, waiting * Self::TILE);
        for chunk in 0..self.chunks.count {
            self.pack_rows(chunk, &mut scratch.left);
            let columns = self.columns.clone().step_by(U::WIDTH);
            for (index, column) in columns.enumerate() {
                self.pack_columns(column, chunk, &mut scratch.right);
                let waiting = if has_many_chunks { index * self.panels.count * Self::TILE } else { 0 };
                let step = if has_many_chunks { Self::TILE } else { 0 };
                self.multiply(column, chunk, [&scratch.left, &scratch.right], &mut scratch.sums[waiting..], step);
            }
        }
    }

    #[expect(unsafe_code, reason = "vector instructions, which the CPU has by the choice of the level")]
    fn pack_rows(&self, chunk: usize, left: &mut [Line]) {
        let depth = self.chunks.get(chunk);
        let items = depth.len().div_ceil(U::DEPTH);
        for panel in self.panels.iter() {
            let operand = &self.product.rows;
            let place = left.as_mut_ptr().cast::<u32>().wrapping_add((panel.start - self.rows.start) * items);
            let strip = Strip { operand, row: panel.start, rows: panel.len(), depth: depth.start, values: depth.len() };
            // SAFETY: there is room for the items of all rows, and for one vector more.
            unsafe { U::pack(strip, place, panel.len()) };
        }
    }

    #[expect(unsafe_code, reason = "vector instructions, which the CPU has by the choice of the level")]
    fn pack_columns(&self, column: usize, chunk: usize, right: &mut [Line]) {
        let depth = self.chunks.get(chunk);
        for half in [0, U::LANES] {
            let row = self.columns.end.min(column + half);
            let rows = U::LANES.min(self.columns.end - row);
            let operand = &self.product.columns;
            let strip = Strip { operand, row, rows, depth: depth.start, values: depth.len() };
            // SAFETY: there is room for two vectors an item.
            unsafe { U::pack(strip, right.as_mut_ptr().cast::<u32>().add(half), U::WIDTH) };
        }
    }

    /// Multiplies all rows with a panel of columns; sums are `step` lines apart.
    #[expect(unsafe_code, reason = "vector instructions, which the CPU has by the choice of the level")]
    fn multiply(&self, column: usize, chunk: usize, [left, right]: [&[Line]; 2], sums: &mut [Line], step: usize) {
        let Product { bias, output, .. } = *self.product;
        let items = self.chunks.get(chunk).len().div_ceil(U::DEPTH);
        let stride = self.product.columns.rows();
        let columns = U::WIDTH.min(self.columns.end - column);
        for (index, panel) in self.panels.iter().enumerate() {
            let left = left.as_ptr().cast::<u32>().wrapping_add((panel.start - self.rows.start) * items);
            let sums = &mut sums[index * step..][..Self::TILE];
            // SAFETY: both panels have so many items, and a tile has room for a panel's rows; these are within this
            // block, which is within the output.
            unsafe {
                let sums = std::slice::from_raw_parts_mut(sums.as_mut_ptr().cast::<f32>(), sums.len() * MOST_LANES);
                let multiply = U::MULTIPLY[panel.len() - 1];
                multiply(left, right.as_ptr().cast(), items, sums.as_mut_ptr(), chunk == 0);
                if chunk + 1 == self.chunks.count {
                    let values = output.add(panel.start * stride + column);
                    let bias = bias.map(|bias| &bias[column..][..columns]);
                    U::write(sums, Place { values, rows: panel.len(), columns, stride, bias });
                }
            }
        }
    }
}

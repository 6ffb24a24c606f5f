//! Convolutions without materialised columns: a tile of the first side is sixteen pixels of a row, 32 channels each, and
//! every tap of the filter is the same pixels from another place.
//!
//! A task has a block of the picture's pixels, which it brings to that order once, and goes through the filters panel by
//! panel, their channels chunk by chunk.

mod filters;
mod gradient;
mod picture;

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use self::{
    filters::Filters,
    picture::{Block, LINE, Pixels},
};
use super::tiles::{DEPTH, PANEL_ROWS, ROWS, Sums, Tiles};
use crate::ops::fused::host::{
    convolution::{ConvShape, Direction},
    matrix::Matrix,
};

pub(in super::super) use gradient::filter_gradients;

/// Columns of a block's output, at most.
const COLUMNS: usize = 64;
/// Rows of a block's output, at most.
const MOST_ROWS: usize = 16;
/// Bytes of a block's pixels, at most, where it has more than [`LEAST_ROWS`]: they stay in a second cache of 2 MiB.
const BLOCK: usize = 1 << 20;
const LEAST_ROWS: usize = 2;
/// Tasks a thread, at least, where the convolution is large enough.
const TASKS: usize = 4;

/// Bytes beside input and output: filters, and what each thread has of pixels and sums.
pub(in super::super) fn scratch_bytes(shape: ConvShape, threads: usize) -> u64 {
    let grid = Grid::new(shape);
    let sums = grid.pairs(grid.rows) * size_of::<Sums>();
    (Filters::bytes(shape) + threads.min(grid.blocks()) * (grid.block_bytes() + sums)) as u64
}

/// Pictures `[B, from, H, W]` to `[B, to, H', W']`, with filters in this direction and a bias for each channel.
pub(in super::super) fn convolve(
    input: &[bf16],
    (weights, direction): (&[bf16], Direction),
    bias: &[f32],
    shape: ConvShape,
    output: &mut [bf16],
) {
    let ConvShape { batch, from, to, taps, .. } = shape;
    assert_eq!(input.len(), batch * from * shape.input[0] * shape.input[1], "invariant: whole pictures");
    assert_eq!(output.len(), batch * to * shape.output[0] * shape.output[1], "invariant: room for each picture");
    assert!(bias.len() == to && weights.len() == to * from * taps * taps, "invariant: all filters");
    let filters = Filters::new(weights, direction, shape);
    Convolution { input, filters: &filters, bias, grid: Grid::new(shape), output: output.as_mut_ptr() }.run();
}

/// The output in blocks.
#[derive(Clone, Copy)]
struct Grid {
    shape: ConvShape,
    /// Rows and columns of a block; columns are whole tiles.
    rows: usize,
    columns: usize,
}

impl Grid {
    fn new(shape: ConvShape) -> Self {
        let columns = shape.output[1].next_multiple_of(ROWS).min(COLUMNS);
        let of = |rows| Self { shape, rows, columns };
        let most = MOST_ROWS.min(shape.output[0]);
        let fits = |&rows: &usize| rows <= LEAST_ROWS || of(rows).block_bytes() <= BLOCK;
        of((1..=most).rev().find(fits).unwrap_or(1))
    }

    /// Rows and columns of the input that so many of the output depend on.
    fn reach(&self, size: usize) -> usize {
        (size - 1) * self.shape.stride + self.shape.taps
    }

    fn block_bytes(&self) -> usize {
        let [rows, columns] = [self.rows, self.columns].map(|size| self.reach(size));
        rows * columns.next_multiple_of(ROWS) * self.shape.from.div_ceil(DEPTH) * LINE
    }

    /// Blocks below each other, and beside each other.
    fn counts(&self) -> [usize; 2] {
        [self.shape.output[0].div_ceil(self.rows), self.shape.output[1].div_ceil(self.columns)]
    }

    fn blocks(&self) -> usize {
        self.shape.batch * self.counts().iter().product::<usize>()
    }

    /// Pairs of tiles of so many rows.
    fn pairs(&self, rows: usize) -> usize {
        (rows * self.columns / ROWS).div_ceil(2)
    }

    fn block(&self, index: usize) -> Block {
        let [down, across] = self.counts();
        let (sample, place) = (index / (down * across), index % (down * across));
        let [y, x] = [place / across * self.rows, place % across * self.columns];
        let [height, width] = self.shape.output;
        Block { sample, y, x, rows: self.rows.min(height - y), columns: self.columns.min(width - x) }
    }
}

struct Convolution<'a> {
    input: &'a [bf16],
    filters: &'a Filters,
    bias: &'a [f32],
    grid: Grid,
    output: *mut bf16,
}

#[expect(unsafe_code, reason = "tasks write to one picture, each its own part")]
// SAFETY: each task writes to its own pixels and channels of the output.
unsafe impl Sync for Convolution<'_> {}

/// What a thread needs beside the pictures.
#[derive(Default)]
struct Scratch {
    pixels: Pixels,
    sums: Vec<Sums>,
}

impl Convolution<'_> {
    fn run(&self) {
        let (blocks, panels) = (self.grid.blocks(), self.filters.panels);
        let parts = (TASKS * rayon::current_num_threads()).div_ceil(blocks).min(panels);
        let part = panels.div_ceil(parts);
        (0..blocks * parts).into_par_iter().for_each_init(Scratch::default, |scratch, task| {
            let first = task % parts * part;
            self.task(self.grid.block(task / parts), first..panels.min(first + part), scratch);
        });
    }

    /// A block's pixels of the channels of some panels.
    #[expect(unsafe_code, reason = "tasks write to one picture, each its own part")]
    fn task(&self, block: Block, panels: Range<usize>, Scratch { pixels, sums }: &mut Scratch) {
        let (grid, shape) = (self.grid, self.grid.shape);
        pixels.fill(self.input, shape, block, [grid.reach(block.rows), grid.reach(grid.columns)]);
        sums.resize(grid.pairs(block.rows), Sums::default());
        let offsets = pixels.offsets(shape, self.filters.chunk);
        let (across, count) = (grid.columns / ROWS, block.rows * grid.columns / ROWS);
        let tile = |index: usize| [index / across, index % across * ROWS];
        let tiles = Tiles::set_up();
        for panel in panels {
            for (chunk, filters) in self.filters.panel(panel).enumerate() {
                let offsets = &offsets[..filters.len()];
                for (pair, sums) in sums.iter_mut().enumerate() {
                    // The last one twice, where there is an odd number of them.
                    let of_pair = [2 * pair, (2 * pair + 1).min(count - 1)];
                    let places = of_pair.map(|index| pixels.place(shape, chunk * self.filters.chunk, tile(index)));
                    tiles.multiply_taps(pixels.from(places), (offsets, shape.stride * LINE), filters, sums, chunk == 0);
                }
            }
            for (index, [row, column]) in (0..count).map(|index| (index, tile(index))) {
                for half in 0..2 {
                    let channel = panel * PANEL_ROWS + half * ROWS;
                    let sums = (&sums[index / 2], index % 2 * 2 + half);
                    if channel < shape.to && column < block.columns {
                        // SAFETY: these pixels and channels are this task's alone, and within the output.
                        unsafe { picture::write(sums, self.bias, (channel, [row, column]), block, shape, self.output) };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

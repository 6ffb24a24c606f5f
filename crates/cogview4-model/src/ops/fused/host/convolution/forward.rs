//! A convolution, and the gradient of its input: tiles are turned, multiplied with the filters, and turned back, so many
//! at a time that they stay in the caches.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Chunks, ConvShape, Kernels, Line, Value,
    filters::Filters,
    tiles::{self, Run, Tiles},
    transforms::{LANES, PATCH, PRODUCTS, TILE},
};

/// Tiles that a task has at most; the filters are read once for each task.
const MOST_TILES: usize = 128;

/// Bytes beside input and output, at most: turned filters, and for each thread turned tiles and their sums.
pub(super) fn scratch_bytes(ConvShape { batch, from, to, output, .. }: ConvShape, threads: usize) -> u64 {
    let pixels: usize = output.iter().product();
    let tiles = (batch * pixels).div_ceil(TILE * TILE).min(threads * MOST_TILES);
    (PRODUCTS * size_of::<f32>()) as u64 * (from * to + tiles * (from + to)) as u64
}

/// Pictures `[B, from, H, W]` to `[B, to, H, W]`.
pub(super) struct Convolution<'a, T> {
    pub(super) input: &'a [T],
    pub(super) filters: &'a Filters,
    /// One value for each channel of the output.
    pub(super) bias: &'a [f32],
    pub(super) tiles: Tiles,
    output: *mut T,
}

#[expect(unsafe_code, reason = "tasks write to one picture, each its own tiles")]
// SAFETY: each task writes to its own tiles of the output.
unsafe impl<T: Value> Sync for Convolution<'_, T> {}

/// What a task's tiles are turned into: `[product, panel, channel, tiles of the panel]`.
#[derive(Default)]
struct Scratch {
    inputs: Vec<Line>,
    sums: Vec<Line>,
}

impl<'a, T: Value> Convolution<'a, T> {
    pub(super) fn new(
        input: &'a [T],
        filters: &'a Filters,
        bias: &'a [f32],
        tiles: Tiles,
        output: &'a mut [T],
    ) -> Self {
        let pixels = tiles.height * tiles.width;
        assert_eq!(input.len() / filters.from, output.len() / filters.to, "invariant: pictures of one size");
        assert!(bias.len() == filters.to && input.len().is_multiple_of(pixels), "invariant: whole pictures");
        Self { input, filters, bias, tiles, output: output.as_mut_ptr() }
    }

    pub(super) fn run<U: Kernels>(&self) {
        let fair = self.tiles.count.div_ceil(rayon::current_num_threads()).next_multiple_of(U::WIDTH);
        let size = fair.clamp(U::WIDTH, MOST_TILES);
        (0..self.tiles.count.div_ceil(size)).into_par_iter().for_each_init(Scratch::default, |scratch, task| {
            let range = task * size..self.tiles.count.min((task + 1) * size);
            let panels = range.len().div_ceil(U::WIDTH);
            let lines = |channels: usize| PRODUCTS * panels * channels * U::WIDTH / Line::VALUES;
            scratch.inputs.resize(lines(self.filters.from), Line::default());
            scratch.sums.resize(lines(self.filters.to), Line::default());
            let inputs = bytemuck::cast_slice_mut(&mut scratch.inputs);
            let sums = bytemuck::cast_slice_mut(&mut scratch.sums);
            Arch::new().dispatch(Turn { of: self, range: range.clone(), width: U::WIDTH, panels, inputs });
            self.multiply::<U>(panels, inputs, sums);
            Arch::new().dispatch(TurnBack { of: self, range, width: U::WIDTH, panels, sums });
        });
    }

    /// Multiplies the turned tiles with the filters.
    #[expect(unsafe_code, reason = "vector instructions, which the CPU has by the choice of the level")]
    fn multiply<U: Kernels>(&self, panels: usize, inputs: &[f32], sums: &mut [f32]) {
        let Filters { from, to, .. } = *self.filters;
        let chunks = Chunks::new(from, U::DEPTH, U::LANES * U::DEPTH);
        for product in 0..PRODUCTS {
            for (chunk, depth) in (0..chunks.count).map(|chunk| (chunk, chunks.get(chunk))) {
                for panel in product * panels..(product + 1) * panels {
                    let right = &inputs[(panel * from + depth.start) * U::WIDTH..][..depth.len() * U::WIDTH];
                    for rows in self.filters.panels.iter() {
                        let left = self.filters.panel(rows.start, rows.len(), product);
                        let left = &left[depth.start * rows.len()..][..depth.len() * rows.len()];
                        let sums = &mut sums[(panel * to + rows.start) * U::WIDTH..][..rows.len() * U::WIDTH];
                        let multiply = U::MULTIPLY[rows.len() - 1];
                        // SAFETY: both panels have an item for each channel of the chunk, and there is a sum for each
                        // row and tile.
                        unsafe {
                            multiply(
                                left.as_ptr().cast(),
                                right.as_ptr().cast(),
                                depth.len(),
                                sums.as_mut_ptr(),
                                chunk == 0,
                            );
                        }
                    }
                }
            }
        }
    }

    fn pixels(&self) -> usize {
        self.tiles.height * self.tiles.width
    }
}

/// Where a run's lanes are in a product's panels of `width` tiles.
#[inline(always)]
fn place(run: Run, width: usize, channels: usize, channel: usize) -> usize {
    (run.first / width * channels + channel) * width + run.first % width
}

struct Turn<'a, T> {
    of: &'a Convolution<'a, T>,
    range: Range<usize>,
    width: usize,
    panels: usize,
    inputs: &'a mut [f32],
}

impl<T: Value> WithSimd for Turn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { of, range, width, panels, inputs } = self;
        let (pixels, channels) = (of.pixels(), of.filters.from);
        for channel in 0..channels {
            for run in of.tiles.runs(range.clone(), width) {
                let plane = &of.input[(run.sample * channels + channel) * pixels..][..pixels];
                let turned = tiles::read(plane, of.tiles, run);
                let first = place(run, width, channels, channel);
                for (product, tiles) in turned.as_flattened().iter().enumerate() {
                    let place = &mut inputs[product * panels * channels * width + first..][..run.tiles];
                    copy(&tiles[..run.tiles], place);
                }
            }
        }
    }
}

struct TurnBack<'a, T> {
    of: &'a Convolution<'a, T>,
    range: Range<usize>,
    width: usize,
    panels: usize,
    sums: &'a [f32],
}

impl<T: Value> WithSimd for TurnBack<'_, T> {
    type Output = ();

    #[inline(always)]
    #[expect(unsafe_code, reason = "tasks write to one picture, each its own tiles")]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { of, range, width, panels, sums } = self;
        let (pixels, channels) = (of.pixels(), of.filters.to);
        for channel in 0..channels {
            for run in of.tiles.runs(range.clone(), width) {
                let first = place(run, width, channels, channel);
                let mut of_run = [[[0.0; LANES]; PATCH]; PATCH];
                for (product, tiles) in of_run.as_flattened_mut().iter_mut().enumerate() {
                    let place = &sums[product * panels * channels * width + first..][..run.tiles];
                    copy(place, &mut tiles[..run.tiles]);
                }
                // SAFETY: the output has a plane for each sample and channel, and the tiles are this task's.
                unsafe {
                    let plane = of.output.add((run.sample * channels + channel) * pixels);
                    tiles::write(&of_run, of.bias[channel], plane, of.tiles, run);
                }
            }
        }
    }
}

/// Copies lanes: all of them, mostly, which is one instruction.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    match (<&[f32; LANES]>::try_from(from), <&mut [f32; LANES]>::try_from(&mut *to)) {
        (Ok(from), Ok(to)) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

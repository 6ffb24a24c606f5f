//! Pictures cut into tiles of 4x4 pixels, and runs of tiles that lie side by side.

use std::ops::Range;

use super::{
    Value,
    transforms::{LANES, PATCH, TILE, both, of_input, of_output_gradient, to_output},
};

/// Pixels of a row that the tiles of a run depend on.
const SPAN: usize = TILE * LANES + 2;

/// A batch of pictures of one size, and its tiles: sample by sample, row by row.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) height: usize,
    pub(super) width: usize,
    across: usize,
    a_sample: usize,
    pub(super) count: usize,
}

/// Tiles side by side, at most [`LANES`].
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) sample: usize,
    /// Its first pixel.
    y: usize,
    x: usize,
    pub(super) tiles: usize,
    /// Its first tile, counted from the first of the range.
    pub(super) first: usize,
}

impl Tiles {
    pub(super) fn new(batch: usize, height: usize, width: usize) -> Self {
        let across = width.div_ceil(TILE);
        let a_sample = height.div_ceil(TILE) * across;
        Self { height, width, across, a_sample, count: batch * a_sample }
    }

    /// The tiles of a range in runs, of which none goes over a multiple of `panel`, counted from the range's start.
    pub(super) fn runs(self, range: Range<usize>, panel: usize) -> impl Iterator<Item = Run> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let (first, column) = (at - range.start, at % self.a_sample % self.across);
            let tiles = LANES.min(self.across - column).min(range.end - at).min(panel - first % panel);
            let (sample, row) = (at / self.a_sample, at % self.a_sample / self.across);
            at += tiles;
            (tiles > 0).then_some(Run { sample, y: row * TILE, x: column * TILE, tiles, first })
        })
    }
}

/// Reads the tiles of a run from a plane, with zeros around the picture, and turns them: a lane for each tile.
#[inline(always)]
pub(super) fn read<T: Value>(plane: &[T], tiles: Tiles, run: Run) -> [[[f32; LANES]; PATCH]; PATCH] {
    let mut rows = [[0.0; SPAN]; PATCH];
    let end = (run.x + TILE * run.tiles + 1).min(tiles.width);
    let start = run.x.saturating_sub(1);
    for (index, row) in rows.iter_mut().enumerate() {
        // Counted from one row above the picture.
        let above = run.y + index;
        if (1..=tiles.height).contains(&above) {
            let pixels = &plane[(above - 1) * tiles.width..][start..end];
            let at = start + 1 - run.x;
            T::widen(pixels, &mut row[at..at + pixels.len()]);
        }
    }
    let mut columns = [[0.0; SPAN]; PATCH];
    for x in 0..SPAN {
        let turned = of_input([rows[0][x], rows[1][x], rows[2][x], rows[3][x], rows[4][x], rows[5][x]]);
        for row in 0..PATCH {
            columns[row][x] = turned[row];
        }
    }
    let mut turned = [[[0.0; LANES]; PATCH]; PATCH];
    for (row, pixels) in turned.iter_mut().zip(&columns) {
        for lane in 0..LANES {
            let x = TILE * lane;
            let tile = [pixels[x], pixels[x + 1], pixels[x + 2], pixels[x + 3], pixels[x + 4], pixels[x + 5]];
            let tile = of_input(tile);
            for column in 0..PATCH {
                row[column][lane] = tile[column];
            }
        }
    }
    turned
}

/// Reads the gradient of a run's outputs, zero outside of the picture, and turns it: a lane for each tile.
#[inline(always)]
pub(super) fn read_gradient<T: Value>(plane: &[T], tiles: Tiles, run: Run) -> [[[f32; LANES]; PATCH]; PATCH] {
    let mut square = [[[0.0; LANES]; TILE]; TILE];
    let end = (run.x + TILE * run.tiles).min(tiles.width);
    for (index, row) in square.iter_mut().enumerate() {
        if run.y + index < tiles.height {
            let mut pixels = [0.0; TILE * LANES];
            let there = &plane[(run.y + index) * tiles.width..][run.x..end];
            T::widen(there, &mut pixels[..there.len()]);
            for lane in 0..LANES {
                for column in 0..TILE {
                    row[column][lane] = pixels[TILE * lane + column];
                }
            }
        }
    }
    both(&square, of_output_gradient)
}

/// Turns the sums of a run into pixels, and writes those that are within the picture.
///
/// # Safety
/// `plane` is a picture of this size, and nobody else writes to these tiles now.
#[inline(always)]
#[expect(unsafe_code, reason = "tasks write to one picture, each its own tiles")]
pub(super) unsafe fn write<T: Value>(
    sums: &[[[f32; LANES]; PATCH]; PATCH],
    bias: f32,
    plane: *mut T,
    tiles: Tiles,
    run: Run,
) {
    let square = both(sums, to_output);
    let width = (TILE * run.tiles).min(tiles.width - run.x);
    for (index, row) in square.iter().enumerate().take(tiles.height - run.y) {
        let mut pixels = [0.0; TILE * LANES];
        for lane in 0..LANES {
            for column in 0..TILE {
                pixels[TILE * lane + column] = row[column][lane] + bias;
            }
        }
        let first = (run.y + index) * tiles.width + run.x;
        // SAFETY: these pixels are within the picture, and this task's alone by the caller.
        let output = unsafe { std::slice::from_raw_parts_mut(plane.add(first), width) };
        T::narrow(&pixels[..width], output);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_the_whole(batch in 1..4_usize, height in 1..40_usize, width in 1..140_usize, start in 0..90_usize) {
            let tiles = Tiles::new(batch, height, width);
            let range = start.min(tiles.count)..tiles.count;
            let mut next = 0;
            for run in tiles.runs(range.clone(), 32) {
                prop_assert!(run.first == next && (1..=LANES).contains(&run.tiles));
                prop_assert_eq!(run.first / 32, (run.first + run.tiles - 1) / 32);
                prop_assert!(run.sample < batch && run.y < height && run.x + TILE * (run.tiles - 1) < width);
                next += run.tiles;
            }
            prop_assert_eq!(next, range.len());
        }
    }
}

//! The gradient of a convolution's filters: for each tap the product of the output's gradient with the input, moved by
//! the tap, summed over all pixels.
//!
//! A step is 32 pixels of a row. Moving by a row takes another row's steps. Moving by a column takes steps that begin a
//! pixel later: those of the input for the tap on the right, and for the one on the left those of the gradient, since
//! `sum g[x] v[x - 1]` is `sum g[x + 1] v[x]`.

use std::{mem::MaybeUninit, ops::Range};

use half::bf16;
use rayon::prelude::*;

use super::{
    super::{
        pack::Role,
        tiles::{DEPTH, MOST_STEPS, PANEL_ROWS, Step, Sums, Tiles},
    },
    ConvShape, Matrix,
};

/// Taps in each direction, and in all.
const TAPS: usize = 3;
const SQUARE: usize = TAPS * TAPS;
/// Bytes of the input's steps that are packed together.
const STRIP: usize = 1 << 19;
/// Parts that the pixels are summed in, for as many tasks where the filters are few: not by the number of threads, so
/// that sums are the same on every machine.
const TASKS: usize = 16;

/// From pictures `[B, from, H, W]` and gradients `[B, to, H, W]` to filters `[to, from, 3, 3]`, of a convolution that
/// keeps the size of a picture.
pub(in super::super::super) fn filter_gradients([input, grad]: [&[bf16]; 2], shape: ConvShape, output: &mut [bf16]) {
    let ConvShape { batch, from, to, taps, stride, padding, input: [height, width], .. } = shape;
    assert_eq!([taps, stride, padding], [TAPS, 1, 1], "invariant: pictures keep their size");
    let plane = height * width;
    assert_eq!([input.len(), grad.len()], [batch * from * plane, batch * to * plane], "invariant: whole pictures");
    assert_eq!(output.len(), to * from * SQUARE, "invariant: all filters");
    let gradient = Gradient { input, grad, shape, strips: Strips::new(shape) };
    let panels = from.div_ceil(PANEL_ROWS);
    let count = gradient.strips.count();
    let parts = TASKS.div_ceil(panels).min(count);
    let sums: Vec<Vec<Sums>> = (0..panels * parts)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, task| {
            let (panel, part) = (task / parts, task % parts);
            gradient.sum(panel, count * part / parts..count * (part + 1) / parts, scratch)
        })
        .collect();
    output.par_chunks_mut(from * SQUARE).enumerate().for_each(|(filter, output)| {
        for (index, value) in output.iter_mut().enumerate() {
            let (channel, tap) = (index / SQUARE, index % SQUARE);
            let parts = &sums[channel / PANEL_ROWS * parts..][..parts];
            let place = [filter % PANEL_ROWS, channel % PANEL_ROWS];
            let of_part = |sums: &Vec<Sums>| sums[filter / PANEL_ROWS * SQUARE + tap].get(place);
            *value = bf16::from_f32(parts.iter().map(of_part).sum());
        }
    });
}

/// Rows of the pictures that are packed together.
#[derive(Clone, Copy)]
struct Strips {
    rows: usize,
    of_picture: usize,
    batch: usize,
    height: usize,
}

impl Strips {
    fn new(shape: ConvShape) -> Self {
        let [height, width] = shape.input;
        let row = 2 * width.div_ceil(DEPTH) * size_of::<Step>();
        let rows = (STRIP / row).saturating_sub(TAPS - 1).clamp(1, height);
        Self { rows, of_picture: height.div_ceil(rows), batch: shape.batch, height }
    }

    fn count(&self) -> usize {
        self.batch * self.of_picture
    }

    /// A sample, and rows of it.
    fn strip(&self, index: usize) -> (usize, Range<usize>) {
        let first = index % self.of_picture * self.rows;
        (index / self.of_picture, first..self.height.min(first + self.rows))
    }
}

struct Gradient<'a> {
    input: &'a [bf16],
    grad: &'a [bf16],
    shape: ConvShape,
    strips: Strips,
}

/// What a thread has packed: steps from the first pixel of each row on, and from the second.
#[derive(Default)]
struct Scratch {
    input: [Vec<MaybeUninit<Step>>; 2],
    grad: [Vec<MaybeUninit<Step>>; 2],
}

impl Gradient<'_> {
    /// Sums over some strips, `[panel of filters, tap]`, for a panel of the input's channels.
    fn sum(&self, panel: usize, strips: Range<usize>, scratch: &mut Scratch) -> Vec<Sums> {
        let ConvShape { from, to, input: [height, width], .. } = self.shape;
        let of_row = width.div_ceil(DEPTH);
        let mut sums = vec![Sums::default(); to.div_ceil(PANEL_ROWS) * SQUARE];
        let tiles = Tiles::set_up();
        for strip in strips {
            let (sample, rows) = self.strips.strip(strip);
            let around = rows.start.saturating_sub(1)..height.min(rows.end + 1);
            let Scratch { input, grad } = &mut *scratch;
            let input = self.pack((self.input, from), (Role::B, panel), (sample, around.clone()), input);
            for (panel, sums) in sums.chunks_exact_mut(SQUARE).enumerate() {
                let grad = self.pack((self.grad, to), (Role::A, panel), (sample, rows.clone()), grad);
                for (tap, sums) in sums.iter_mut().enumerate() {
                    let (down, right) = (tap / TAPS, tap % TAPS);
                    let of_grad = grad[usize::from(right == 0)];
                    let of_input = input[usize::from(right == 2)];
                    // Rows whose neighbour is within the picture.
                    let seen = rows.start.max(1_usize.saturating_sub(down))..rows.end.min(height + 1 - down);
                    let steps = seen.len() * of_row;
                    let of_grad = &of_grad[(seen.start - rows.start) * of_row..][..steps];
                    let of_input = &of_input[(seen.start + down - 1 - around.start) * of_row..][..steps];
                    for (a, b) in of_grad.chunks(MOST_STEPS).zip(of_input.chunks(MOST_STEPS)) {
                        tiles.multiply(a, b, sums, false);
                    }
                }
            }
        }
        drop(tiles);
        sums
    }

    /// Packs rows of a panel of channels twice: from their first pixel on, and from their second.
    #[expect(unsafe_code, reason = "memory that is written before it is read")]
    fn pack<'b>(
        &self,
        (values, channels): (&[bf16], usize),
        (role, panel): (Role, usize),
        (sample, rows): (usize, Range<usize>),
        steps: &'b mut [Vec<MaybeUninit<Step>>; 2],
    ) -> [&'b [Step]; 2] {
        let [height, width] = self.shape.input;
        let (plane, of_row) = (height * width, width.div_ceil(DEPTH));
        for (later, steps) in steps.iter_mut().enumerate() {
            steps.resize_with(rows.len() * of_row, MaybeUninit::uninit);
            for (y, steps) in rows.clone().zip(steps.chunks_exact_mut(of_row)) {
                let first = (sample * channels) * plane + y * width + later;
                // A row of one pixel has no second.
                let values = &values[first.min(values.len())..];
                Matrix::of_part(values, channels, width - later, plane).pack(role, panel, 0, steps);
            }
        }
        // SAFETY: each was packed.
        steps.each_ref().map(|steps| unsafe { steps.assume_init_ref() })
    }
}

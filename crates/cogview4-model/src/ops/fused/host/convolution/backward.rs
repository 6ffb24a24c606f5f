//! The gradient of a convolution's filters: a sum over all tiles of the products of what input and gradient are turned
//! into.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    CHUNK, Matrix, Operand, ProductKernel, Value, filters, simd,
    tiles::{self, Tiles},
    transforms::PRODUCTS,
    wide,
};

/// Tiles whose products are summed at once: however many threads there are, sums are the same.
const MOST_TILES: usize = 256;

/// From pictures `[B, from, H, W]` and gradients `[B, to, H, W]` to filters `[to, from, 3, 3]`.
pub(super) fn filter_gradients<T: Value>(
    [input, grad]: [&[T]; 2],
    tiles: Tiles,
    [to, from]: [usize; 2],
    kernel: ProductKernel,
    output: &mut [T],
) {
    let mut turned = vec![0.0; PRODUCTS * to * from];
    let most = PRODUCTS * tiles.count.min(MOST_TILES);
    let (mut inputs, mut grads) = (vec![0.0; from * most], vec![0.0; to * most]);
    for start in (0..tiles.count).step_by(MOST_TILES) {
        let range = start..tiles.count.min(start + MOST_TILES);
        let depth = range.len();
        let stride = PRODUCTS * depth;
        for (values, from_input, into, channels) in [(input, true, &mut inputs, from), (grad, false, &mut grads, to)] {
            into[..channels * stride].par_chunks_mut(stride).enumerate().for_each(|(channel, output)| {
                let range = range.clone();
                Arch::new().dispatch(Turn { values, from_input, tiles, range, channel, channels, output });
            });
        }
        turned.par_chunks_mut(to * from).enumerate().for_each_init(Vec::new, |sums, (product, turned)| {
            sums.resize(turned.len(), 0.0);
            let [grads, inputs] = [(&grads, to), (&inputs, from)]
                .map(|(values, rows)| Operand::F32(Matrix::of_part(&values[product * depth..], rows, depth, stride)));
            wide::product(kernel, grads, inputs, None, sums);
            turned.iter_mut().zip(sums).for_each(|(total, sum)| *total += *sum);
        });
    }
    filters::gradients(&turned, from, output);
}

/// The sum of each channel's gradient.
pub(super) fn bias_gradient<T: Value>(grad: &[T], pixels: usize, output: &mut [T]) {
    let channels = output.len();
    output.par_iter_mut().enumerate().for_each(|(channel, output)| {
        let mut scratch = [0.0; CHUNK];
        let mut sum = 0.0;
        for plane in grad.chunks_exact(pixels).skip(channel).step_by(channels) {
            for chunk in plane.chunks(CHUNK) {
                sum += f64::from(simd::total(T::wide(chunk, &mut scratch)));
            }
        }
        T::narrow(&[sum as f32], std::slice::from_mut(output));
    });
}

/// One channel's tiles, `[product, tiles]`.
struct Turn<'a, T> {
    values: &'a [T],
    /// Whether the values are of the input, or else of the gradient.
    from_input: bool,
    tiles: Tiles,
    range: Range<usize>,
    channel: usize,
    channels: usize,
    output: &'a mut [f32],
}

impl<T: Value> WithSimd for Turn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { values, from_input, tiles, range, channel, channels, output } = self;
        let (pixels, depth) = (tiles.height * tiles.width, range.len());
        for run in tiles.runs(range, depth) {
            let plane = &values[(run.sample * channels + channel) * pixels..][..pixels];
            let turned = match from_input {
                true => tiles::read(plane, tiles, run),
                false => tiles::read_gradient(plane, tiles, run),
            };
            for (product, tiles) in turned.as_flattened().iter().enumerate() {
                output[product * depth + run.first..][..run.tiles].copy_from_slice(&tiles[..run.tiles]);
            }
        }
    }
}

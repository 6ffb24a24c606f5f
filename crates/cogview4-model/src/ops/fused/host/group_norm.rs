//! Group norm, with or without SiLU behind it. Moments and sums are taken chunk by chunk in f32, and joined in f64.

use burn::tensor::DType;
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{CHUNK, HostTensor, Value, rows::by_type};
use crate::ops::{GroupNormOptions, fused::simd};

/// `[B, C, H, W]` with weight and bias `[C]`.
pub(in crate::ops::fused) fn group_norm<H: HostTensor>([input, weight, bias]: [&H; 3], options: GroupNormOptions) -> H {
    by_type!(input, forward(input, weight, bias, options))
}

fn forward<H: HostTensor, T: Value>(input: &H, weight: &H, bias: &H, options: GroupNormOptions) -> H {
    let input = input.contiguous();
    let pictures = Pictures::<T>::new(&input, weight, bias, options);
    input.filled(&input.dims::<4>(), |output| {
        output.par_chunks_mut(pictures.group()).enumerate().for_each(|(group, output)| {
            Arch::new().dispatch(Forward { of: &pictures, group, output });
        });
    })
}

/// Gradients of input, weight and bias.
pub(in crate::ops::fused) fn group_norm_backward<H: HostTensor>(
    [input, weight, bias]: [&H; 3],
    grad: &H,
    options: GroupNormOptions,
) -> [H; 3] {
    by_type!(input, backward(input, weight, bias, grad, options))
}

fn backward<H: HostTensor, T: Value>(input: &H, weight: &H, bias: &H, grad: &H, options: GroupNormOptions) -> [H; 3] {
    let (input, grad) = (input.contiguous(), grad.contiguous());
    let dims @ [batch, channels, _, _] = input.dims();
    let pictures = Pictures::<T>::new(&input, weight, bias, options);
    let mut sums = vec![[0.0; 2]; batch * channels];
    let grads = grad.values::<T>();
    let of_input = input.filled(&dims, |output| {
        let groups = output.par_chunks_mut(pictures.group()).zip(sums.par_chunks_mut(pictures.channels));
        groups.enumerate().for_each(|(group, (output, sums))| {
            let grads = &grads[group * pictures.group()..][..pictures.group()];
            Arch::new().dispatch(Backward { of: &pictures, group, grads, output, sums });
        });
    });
    let [of_weight, of_bias] = [1, 0].map(|which| {
        weight.filled(&[channels], |output: &mut [T]| {
            for (channel, output) in output.iter_mut().enumerate() {
                let samples = sums.iter().skip(channel).step_by(channels);
                T::narrow(&[samples.map(|sums| sums[which]).sum()], std::slice::from_mut(output));
            }
        })
    });
    [of_input, of_weight, of_bias]
}

/// What is normalised.
struct Pictures<'a, T> {
    values: &'a [T],
    weight: Vec<f32>,
    bias: Vec<f32>,
    /// Channels of a group.
    channels: usize,
    /// Values of a channel.
    pixels: usize,
    options: GroupNormOptions,
}

impl<'a, T: Value> Pictures<'a, T> {
    fn new<H: HostTensor>(input: &'a H, weight: &H, bias: &H, options: GroupNormOptions) -> Self {
        let [_, channels, height, width] = input.dims();
        assert!(channels.is_multiple_of(options.groups), "invariant: groups of as many channels");
        let (values, weight, bias) = (input.values(), weight.to_f32(), bias.to_f32());
        Self { values, weight, bias, channels: channels / options.groups, pixels: height * width, options }
    }

    /// Values of a group.
    fn group(&self) -> usize {
        self.channels * self.pixels
    }

    /// What the values of a group are normalised with, for each of its channels in order.
    #[inline(always)]
    fn affine(&self, group: usize) -> (impl Iterator<Item = Affine>, f32) {
        let values = &self.values[group * self.group()..][..self.group()];
        let (mean, inverse_std) = moments(values, self.options.eps);
        let first = group % self.options.groups * self.channels;
        let channels = first..first + self.channels;
        let affine = move |(weight, bias): (&f32, &f32)| Affine { mean, scale: inverse_std * weight, bias: *bias };
        (self.weight[channels.clone()].iter().zip(&self.bias[channels]).map(affine), inverse_std)
    }
}

/// `(x - mean) * scale + bias`.
#[derive(Clone, Copy)]
struct Affine {
    mean: f32,
    scale: f32,
    bias: f32,
}

impl Affine {
    #[inline(always)]
    fn apply(self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.bias
    }
}

/// Mean, and one over the root of variance plus `eps`.
#[inline(always)]
fn moments<T: Value>(values: &[T], eps: f64) -> (f32, f32) {
    let mut scratch = [0.0; CHUNK];
    let (mut seen, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for chunk in values.chunks(CHUNK) {
        let (of_chunk, of_squares) = simd::deviations(T::wide(chunk, &mut scratch));
        // Chan, Golub and LeVeque's way to join two sets of values.
        let count = chunk.len() as f64;
        let (apart, all) = (f64::from(of_chunk) - mean, seen + count);
        squares += f64::from(of_squares) + apart * apart * seen * count / all;
        mean += apart * count / all;
        seen = all;
    }
    (mean as f32, (1.0 / (squares / seen + eps).sqrt()) as f32)
}

struct Forward<'a, T> {
    of: &'a Pictures<'a, T>,
    group: usize,
    output: &'a mut [T],
}

impl<T: Value> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { of, group, output } = self;
        let input = &of.values[group * of.group()..][..of.group()];
        let (mut scratch, mut written) = ([0.0; CHUNK], [0.0; CHUNK]);
        let channels = input.chunks_exact(of.pixels).zip(output.chunks_exact_mut(of.pixels)).zip(of.affine(group).0);
        for ((input, output), affine) in channels {
            for (input, output) in input.chunks(CHUNK).zip(output.chunks_mut(CHUNK)) {
                let input = T::wide(input, &mut scratch);
                T::write(
                    output,
                    &mut written,
                    #[inline(always)]
                    |output| match of.options.silu {
                        true => (0..output.len()).for_each(|i| output[i] = simd::silu(affine.apply(input[i]))),
                        false => (0..output.len()).for_each(|i| output[i] = affine.apply(input[i])),
                    },
                );
            }
        }
    }
}

struct Backward<'a, T> {
    of: &'a Pictures<'a, T>,
    group: usize,
    grads: &'a [T],
    output: &'a mut [T],
    /// For each channel of the group the sum of the gradient, and of its product with what was normalised.
    sums: &'a mut [[f32; 2]],
}

impl<T: Value> WithSimd for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { of, group, grads, output, sums } = self;
        let input = &of.values[group * of.group()..][..of.group()];
        let first = group % of.options.groups * of.channels;
        let (affine, inverse_std) = of.affine(group);
        let affine: Vec<Affine> = affine.collect();
        let mut scratch = [[0.0; CHUNK]; 2];
        let (mut of_mean, mut of_norm) = (0.0, 0.0);
        for (channel, affine) in affine.iter().enumerate() {
            let pixels = channel * of.pixels..(channel + 1) * of.pixels;
            let chunks = input[pixels.clone()].chunks(CHUNK).zip(grads[pixels].chunks(CHUNK));
            let mut totals = [0.0_f64; 2];
            for (input, grad) in chunks {
                let [input, grad] = before_silu(input, grad, *affine, of.options.silu, &mut scratch);
                totals[0] += f64::from(simd::total(&*grad));
                // The normalised value is this times `inverse_std`.
                input.iter_mut().for_each(|x| *x = (*x - affine.mean) * inverse_std);
                totals[1] += f64::from(simd::dot(input, grad));
            }
            sums[channel] = totals.map(|total| total as f32);
            let weight = f64::from(of.weight[first + channel]);
            (of_mean, of_norm) = (of_mean + weight * totals[0], of_norm + weight * totals[1]);
        }
        let [of_mean, of_norm] = [of_mean, of_norm].map(|sum| (sum / of.group() as f64) as f32);
        let mut written = [0.0; CHUNK];
        for (channel, affine) in affine.iter().enumerate() {
            let pixels = channel * of.pixels..(channel + 1) * of.pixels;
            let weight = of.weight[first + channel];
            let chunks = input[pixels.clone()].chunks(CHUNK).zip(grads[pixels.clone()].chunks(CHUNK));
            for ((input, grad), output) in chunks.zip(output[pixels].chunks_mut(CHUNK)) {
                let [input, grad] = before_silu(input, grad, *affine, of.options.silu, &mut scratch);
                T::write(
                    output,
                    &mut written,
                    #[inline(always)]
                    |output| {
                        for i in 0..output.len() {
                            let normed = (input[i] - affine.mean) * inverse_std;
                            output[i] = (grad[i] * weight - of_mean - normed * of_norm) * inverse_std;
                        }
                    },
                );
            }
        }
    }
}

/// A chunk of the input, and the gradient of what the norm gave before SiLU.
#[inline(always)]
fn before_silu<'a, T: Value>(
    input: &[T],
    grad: &[T],
    affine: Affine,
    silu: bool,
    [of_input, of_grad]: &'a mut [[f32; CHUNK]; 2],
) -> [&'a mut [f32]; 2] {
    let (of_input, of_grad) = (&mut of_input[..input.len()], &mut of_grad[..input.len()]);
    T::widen(input, of_input);
    T::widen(grad, of_grad);
    if silu {
        for i in 0..of_grad.len() {
            of_grad[i] *= simd::silu_slope(affine.apply(of_input[i]));
        }
    }
    [of_input, of_grad]
}

//! Convolutions with filters of 3x3 taps that keep the size of a picture, by Winograd's minimal filtering. Values are
//! computed in f32.

#![allow(clippy::needless_range_loop, reason = "loops over lanes, as vector instructions have them")]

mod backward;
mod filters;
mod forward;
mod tiles;
mod transforms;

use burn::tensor::DType;
use half::bf16;

use self::{
    filters::{Direction, Filters},
    forward::Convolution,
    tiles::Tiles,
};
use super::{
    CHUNK, HostTensor, Value,
    rows::by_type,
    wide::{self, Avx2, Avx512, Chunks, Kernels, Line, Operand, Panels},
};
use crate::ops::{ProductKernel, fused::simd};

pub(in crate::ops::fused) use forward::scratch_bytes;

/// Whether this convolution is computed here, where our kernels reach the values.
pub(in crate::ops::fused) fn serves(taps: usize, stride: usize) -> bool {
    (taps, stride) == (transforms::TAPS, 1) && ProductKernel::chosen() != ProductKernel::Library
}

/// `[B, in, H, W]` with filters `[out, in, 3, 3]` and bias `[out]` to `[B, out, H, W]`.
pub(in crate::ops::fused) fn conv2d<H: HostTensor>(input: &H, weight: &H, bias: &H) -> H {
    let [out, ..] = weight.dims::<4>();
    let bias = bias.to_f32();
    by_type!(input, convolve(input, weight, &bias, out, Direction::Forward))
}

/// Gradients of input, weight and bias.
pub(in crate::ops::fused) fn conv2d_backward<H: HostTensor>(input: &H, weight: &H, grad: &H) -> [H; 3] {
    let [_, channels, ..] = input.dims::<4>();
    let of_input = by_type!(grad, convolve(grad, weight, &vec![0.0; channels], channels, Direction::Backward));
    let [of_weight, of_bias] = by_type!(input, of_parameters(input, weight, grad));
    [of_input, of_weight, of_bias]
}

fn convolve<H: HostTensor, T: Value>(input: &H, weight: &H, bias: &[f32], to: usize, direction: Direction) -> H {
    let [batch, from, height, width] = input.dims();
    let (input, weight) = (input.contiguous(), weight.contiguous());
    let tiles = Tiles::new(batch, height, width);
    input.filled(&[batch, to, height, width], |output| {
        let (pictures, weights) = ((input.values::<T>(), tiles), (weight.values(), [to, from], direction));
        convolve_by(ProductKernel::chosen(), pictures, weights, bias, output);
    })
}

/// Pictures, filters with their numbers of channels, bias and output, by a kernel that is there.
fn convolve_by<T: Value>(
    kernel: ProductKernel,
    (input, tiles): (&[T], Tiles),
    (weights, dims, direction): (&[T], [usize; 2], Direction),
    bias: &[f32],
    output: &mut [T],
) {
    let filters = |height: usize| Filters::new(weights, dims, direction, height);
    match kernel {
        ProductKernel::Avx2 => {
            Convolution::new(input, &filters(Avx2::MULTIPLY.len()), bias, tiles, output).run::<Avx2>();
        }
        _ => Convolution::new(input, &filters(Avx512::MULTIPLY.len()), bias, tiles, output).run::<Avx512>(),
    }
}

fn of_parameters<H: HostTensor, T: Value>(input: &H, weight: &H, grad: &H) -> [H; 2] {
    let [batch, from, height, width] = input.dims();
    let [_, to, ..] = grad.dims::<4>();
    let (input, grad) = (input.contiguous(), grad.contiguous());
    let (inputs, grads) = (input.values::<T>(), grad.values::<T>());
    let kernel = ProductKernel::chosen().of_vectors();
    let of_weight = weight.filled(&weight.dims::<4>(), |output| {
        let tiles = Tiles::new(batch, height, width);
        backward::filter_gradients([inputs, grads], tiles, [to, from], kernel, output);
    });
    let of_bias = weight.filled(&[to], |output| backward::bias_gradient(grads, height * width, output));
    [of_weight, of_bias]
}

#[cfg(test)]
mod tests;

//! Convolutions: with filters of 3x3 taps that keep the size of a picture by Winograd's minimal filtering, in f32; in
//! bfloat16 on the matrix unit where the CPU has one.

#![allow(clippy::needless_range_loop, reason = "loops over lanes, as vector instructions have them")]

mod backward;
mod filters;
mod forward;
mod shape;
mod tiles;
mod transforms;

use burn::tensor::DType;
use half::bf16;

use self::{filters::Filters, forward::Convolution, tiles::Tiles};
use super::{
    CHUNK, HostTensor, Value, amx,
    matrix::Matrix,
    rows::by_type,
    wide::{self, Avx2, Avx512, Chunks, Kernels, Line, Operand, Panels},
};
use crate::ops::{ProductKernel, fused::simd};

pub(in crate::ops::fused) use shape::ConvShape;
pub(super) use shape::Direction;

/// Whether this convolution is computed here, where our kernels reach the values; its backward is there only where it
/// keeps the size of a picture.
pub(in crate::ops::fused) fn serves(dtype: DType, taps: usize, stride: usize, has_backward: bool) -> bool {
    let keeps_size = (taps, stride) == (transforms::TAPS, 1);
    ProductKernel::chosen() != ProductKernel::Library && (keeps_size || is_on_unit(dtype) && !has_backward)
}

/// Bytes of a convolution that is served, beside input and output.
pub(in crate::ops::fused) fn scratch_bytes(dtype: DType, shape: ConvShape, threads: usize) -> u64 {
    match is_on_unit(dtype) {
        true => amx::convolution::scratch_bytes(shape, threads),
        false => forward::scratch_bytes(shape, threads),
    }
}

fn is_on_unit(dtype: DType) -> bool {
    dtype == DType::BF16 && ProductKernel::chosen() == ProductKernel::MatrixUnit
}

/// `[B, in, H, W]` with filters `[out, in, taps, taps]` and bias `[out]`, with zeros around the picture.
pub(in crate::ops::fused) fn conv2d<H: HostTensor>(
    input: &H,
    weight: &H,
    bias: &H,
    stride: usize,
    padding: usize,
) -> H {
    let ([batch, from, height, width], [to, _, taps, _]) = (input.dims(), weight.dims());
    let shape = ConvShape::new([batch, from, to], [height, width], taps, stride, padding);
    let bias = bias.to_f32();
    by_type!(input, convolve(input, weight, &bias, shape, Direction::Forward))
}

/// Gradients of input, weight and bias, of a convolution that keeps the size of a picture.
pub(in crate::ops::fused) fn conv2d_backward<H: HostTensor>(input: &H, weight: &H, grad: &H) -> [H; 3] {
    let ([_, to, ..], [batch, from, height, width]) = (input.dims::<4>(), grad.dims());
    let shape = ConvShape::new([batch, from, to], [height, width], transforms::TAPS, 1, 1);
    let of_input = by_type!(grad, convolve(grad, weight, &vec![0.0; to], shape, Direction::Backward));
    let [of_weight, of_bias] = by_type!(input, of_parameters(input, weight, grad));
    [of_input, of_weight, of_bias]
}

fn convolve<H: HostTensor, T: Value>(input: &H, weight: &H, bias: &[f32], shape: ConvShape, direction: Direction) -> H {
    let (input, weight) = (input.contiguous(), weight.contiguous());
    let ConvShape { batch, to, from, output: [height, width], .. } = shape;
    let dims = [batch, to, height, width];
    if is_on_unit(T::dtype()) {
        return input.filled::<bf16>(&dims, |output| {
            amx::convolution::convolve(input.values(), (weight.values(), direction), bias, shape, output);
        });
    }
    let tiles = Tiles::new(batch, height, width);
    input.filled(&dims, |output| {
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
    let dims = weight.dims::<4>();
    let of_weight = if is_on_unit(T::dtype()) {
        let shape = ConvShape::new([batch, from, to], [height, width], transforms::TAPS, 1, 1);
        weight.filled::<bf16>(&dims, |output| {
            amx::convolution::filter_gradients([input.values(), grad.values()], shape, output);
        })
    } else {
        let (tiles, kernel) = (Tiles::new(batch, height, width), ProductKernel::chosen().of_vectors());
        weight.filled(&dims, |output| {
            backward::filter_gradients([inputs, grads], tiles, [to, from], kernel, output);
        })
    };
    let of_bias = weight.filled(&[to], |output| backward::bias_gradient(grads, height * width, output));
    [of_weight, of_bias]
}

#[cfg(test)]
mod tests;

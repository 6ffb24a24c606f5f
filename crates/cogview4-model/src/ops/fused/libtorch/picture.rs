//! Convolution and group norm: our kernels on the CPU where they serve, elsewhere libtorch's.

use burn::{
    backend::{LibTorch, TensorMetadata, libtorch::TchTensor},
    tensor::DType,
};

use super::{graph::Graph, is_host, is_slow};
use crate::ops::{
    GroupNormOptions, ProductKernel,
    fused::{
        host::{self, HostTensor, convolution},
        picture::{PictureOps, RecordedPictureOps},
    },
};

impl PictureOps for LibTorch {
    fn fused_conv2d(input: TchTensor, weight: TchTensor, bias: TchTensor, stride: usize, padding: usize) -> TchTensor {
        match is_ours(&input, &weight, stride, false) {
            true => convolution::conv2d(&input, &weight, &bias, stride, padding),
            false => TchTensor::new(conv2d([&input.tensor, &weight.tensor, &bias.tensor], stride, padding)),
        }
    }

    fn fused_group_norm(input: TchTensor, weight: TchTensor, bias: TchTensor, options: GroupNormOptions) -> TchTensor {
        match is_host(&input) {
            true => host::group_norm([&input, &weight, &bias], options),
            false => TchTensor::new(group_norm([&input.tensor, &weight.tensor, &bias.tensor], options)),
        }
    }
}

/// What an operation leaves behind.
#[derive(Debug, Clone)]
pub(in crate::ops::fused) enum Picture {
    Host(host::Picture<TchTensor>),
    Library(Graph<3>),
}

impl RecordedPictureOps for LibTorch {
    type Graph = Picture;

    fn recorded_conv2d(inputs: [TchTensor; 3], stride: usize, padding: usize) -> (TchTensor, Picture) {
        if is_ours(&inputs[0], &inputs[1], stride, true) {
            let (output, picture) = host::Picture::conv2d(inputs, stride, padding);
            return (output, Picture::Host(picture));
        }
        let (output, graph) = Graph::record(inputs, |inputs| conv2d(inputs, stride, padding));
        (output, Picture::Library(graph))
    }

    fn recorded_group_norm(inputs: [TchTensor; 3], options: GroupNormOptions) -> (TchTensor, Picture) {
        if is_host(&inputs[0]) {
            let (output, picture) = host::Picture::group_norm(inputs, options);
            return (output, Picture::Host(picture));
        }
        let (output, graph) = Graph::record(inputs, |inputs| group_norm(inputs, options));
        (output, Picture::Library(graph))
    }

    fn gradients(graph: Picture, grad: TchTensor) -> [TchTensor; 3] {
        match graph {
            Picture::Host(picture) => picture.gradients(&grad),
            Picture::Library(graph) => graph.gradients(&grad.tensor),
        }
    }
}

/// Whether the convolution is ours. Without a matrix unit ours are computed in f32: where the CPU multiplies bfloat16,
/// oneDNN's are taken.
fn is_ours(input: &TchTensor, weight: &TchTensor, stride: usize, has_backward: bool) -> bool {
    let ([.., taps], dtype) = (weight.dims::<4>(), TensorMetadata::dtype(input));
    let is_library = dtype == DType::BF16 && ProductKernel::chosen() == ProductKernel::Avx512Bf16;
    is_host(input) && !is_library && convolution::serves(dtype, taps, stride, has_backward)
}

fn conv2d(inputs: [&tch::Tensor; 3], stride: usize, padding: usize) -> tch::Tensor {
    let (stride, padding) = ([stride as i64; 2], [padding as i64; 2]);
    let convolve =
        |[input, weight, bias]: [&tch::Tensor; 3]| input.conv2d(weight, Some(bias), stride, padding, [1, 1], 1);
    let narrow = inputs[0].kind();
    if is_slow(inputs[0]) {
        let wide = inputs.map(|tensor| tensor.to_kind(tch::Kind::Float));
        return convolve(wide.each_ref()).to_kind(narrow);
    }
    convolve(inputs)
}

fn group_norm([input, weight, bias]: [&tch::Tensor; 3], options: GroupNormOptions) -> tch::Tensor {
    let GroupNormOptions { groups, eps, silu } = options;
    let normed = input.group_norm(groups as i64, Some(weight), Some(bias), eps, false);
    if silu { normed.silu() } else { normed }
}

//! Convolution and group norm with a backward of their own, ours or libtorch's: Burn composes that of a weight from a
//! convolution whose kernel is as large as the picture, and that of a norm from a dozen passes. Backends of which we do
//! not reach the memory use what Burn has.

#![cfg_attr(
    not(any(feature = "flex", feature = "libtorch")),
    expect(unused_variables, reason = "no backend takes the sizes, then")
)]

use burn::{
    backend::{
        Backend, Dispatch,
        autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Tensor, ops::PadMode},
};

#[cfg(any(feature = "flex", feature = "libtorch"))]
use super::host::{self, convolution::ConvShape};
use super::{
    autodiff::{inner, record},
    serves_values,
};
use crate::{device::is_libtorch, ops::GroupNormOptions};

/// Pictures are `[B, C, H, W]`.
#[backend_extension(Autodiff, Flex: cfg(feature = "flex"), LibTorch: cfg(feature = "libtorch"))]
pub(super) trait PictureOps: Backend {
    fn fused_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;

    fn fused_group_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self>;
}

/// The same with a graph of the backend's own, on which gradients follow from that of the output.
pub(super) trait RecordedPictureOps: PictureOps {
    /// What a recorded operation leaves behind.
    type Graph: Clone + Send + std::fmt::Debug + 'static;

    /// Output and graph of a function of input, weight and bias.
    fn recorded_conv2d(
        inputs: [FloatTensor<Self>; 3],
        stride: usize,
        padding: usize,
    ) -> (FloatTensor<Self>, Self::Graph);

    /// See [`recorded_conv2d`](Self::recorded_conv2d).
    fn recorded_group_norm(
        inputs: [FloatTensor<Self>; 3],
        options: GroupNormOptions,
    ) -> (FloatTensor<Self>, Self::Graph);

    /// Gradients of input, weight and bias.
    fn gradients(graph: Self::Graph, grad: FloatTensor<Self>) -> [FloatTensor<Self>; 3];
}

impl<B: RecordedPictureOps, C: CheckpointStrategy> PictureOps for Autodiff<B, C> {
    fn fused_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let inputs = [input, weight, bias];
        let (output, graph) = B::recorded_conv2d(inputs.each_ref().map(inner::<B, C>), stride, padding);
        record::<B, C, _, 3>(&inputs, output, || graph, B::gradients)
    }

    fn fused_group_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self> {
        let inputs = [input, weight, bias];
        let (output, graph) = B::recorded_group_norm(inputs.each_ref().map(inner::<B, C>), options);
        record::<B, C, _, 3>(&inputs, output, || graph, B::gradients)
    }
}

/// A convolution with zeros around the picture; `None` where neither we nor libtorch have a better one than Burn.
pub(in crate::ops) fn conv2d(
    input: &Tensor<4>,
    weight: &Tensor<4>,
    bias: &Tensor<1>,
    stride: usize,
    (before, after): (usize, usize),
) -> Option<Tensor<4>> {
    let ([.., taps], device) = (weight.dims(), input.device());
    let is_ours = || serves_values(input) && has_convolution(input.dtype(), taps, stride, device.is_autodiff());
    (is_libtorch(&device) || is_ours()).then(|| {
        let (input, weight, bias) = (input.clone(), weight.clone(), bias.clone());
        let (input, padding) = match before == after {
            true => (input, before),
            false => (input.pad((before, after, before, after), PadMode::Constant(0.0)), 0),
        };
        let [input, weight, bias] = [input.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
        Tensor::from_dispatch(<Dispatch as PictureOps>::fused_conv2d(input, weight, bias, stride, padding))
    })
}

/// A group norm; `None` where neither we nor libtorch have a better one than Burn.
pub(in crate::ops) fn group_norm(
    input: &Tensor<4>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    options: GroupNormOptions,
) -> Option<Tensor<4>> {
    (is_libtorch(&input.device()) || serves_values(input)).then(|| {
        let (input, weight, bias) = (input.clone(), weight.clone(), bias.clone());
        let [input, weight, bias] = [input.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
        Tensor::from_dispatch(<Dispatch as PictureOps>::fused_group_norm(input, weight, bias, options))
    })
}

/// Bytes of a convolution that nothing is recorded of, beside input and output; `None` where it is not ours. With half a
/// filter of zeros around, pictures of this height and width keep their size, divided by the stride.
pub(crate) fn conv2d_scratch(
    dtype: DType,
    [from, to]: [usize; 2],
    size: [usize; 2],
    [taps, stride]: [usize; 2],
    threads: usize,
) -> Option<u64> {
    #[cfg(any(feature = "flex", feature = "libtorch"))]
    return has_convolution(dtype, taps, stride, false).then(|| {
        let shape = ConvShape::new([1, from, to], size, taps, stride, taps / 2);
        host::convolution::scratch_bytes(dtype, shape, threads)
    });
    #[cfg(not(any(feature = "flex", feature = "libtorch")))]
    return None;
}

/// Whether our kernels, where they reach the values, compute this convolution, and its backward where one is to be.
fn has_convolution(dtype: DType, taps: usize, stride: usize, has_backward: bool) -> bool {
    #[cfg(any(feature = "flex", feature = "libtorch"))]
    return host::convolution::serves(dtype, taps, stride, has_backward);
    #[cfg(not(any(feature = "flex", feature = "libtorch")))]
    return false;
}

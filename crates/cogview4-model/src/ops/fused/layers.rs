//! Convolution and group norm with libtorch's own backward: Burn composes that of a weight from a convolution whose kernel is
//! as large as the picture, and that of a norm from a dozen passes. Other backends use what Burn has.

use burn::{
    backend::{
        Backend, Dispatch,
        autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};

use super::{
    autodiff::{inner, record},
    is_libtorch,
};

/// Pictures are `[B, C, H, W]`.
#[backend_extension(Autodiff, LibTorch)]
pub(super) trait LayerOps: Backend {
    fn fused_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;

    /// Gradients of input, weight and bias.
    fn fused_conv2d_backward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn fused_group_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// Gradients of input, weight and bias.
    fn fused_group_norm_backward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        groups: usize,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl<B: LayerOps, C: CheckpointStrategy> LayerOps for Autodiff<B, C> {
    fn fused_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let [x, w, b] = [&input, &weight, &bias].map(inner::<B, C>);
        let output = B::fused_conv2d(x.clone(), w.clone(), b.clone(), stride, padding);
        record::<B, C, _, 3>(
            &[input, weight, bias],
            output,
            || (x, w, b, stride, padding),
            |(x, w, b, stride, padding), grad| {
                let (input, weight, bias) = B::fused_conv2d_backward(x, w, b, grad, stride, padding);
                [input, weight, bias]
            },
        )
    }

    fn fused_group_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        eps: f64,
    ) -> FloatTensor<Self> {
        let [x, w, b] = [&input, &weight, &bias].map(inner::<B, C>);
        let output = B::fused_group_norm(x.clone(), w.clone(), b.clone(), groups, eps);
        record::<B, C, _, 3>(
            &[input, weight, bias],
            output,
            || (x, w, b, groups, eps),
            |(x, w, b, groups, eps), grad| {
                let (input, weight, bias) = B::fused_group_norm_backward(x, w, b, grad, groups, eps);
                [input, weight, bias]
            },
        )
    }

    fn fused_conv2d_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: usize,
        _: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("invariant: first derivatives only")
    }

    fn fused_group_norm_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: usize,
        _: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("invariant: first derivatives only")
    }
}

/// A convolution with the same zeros on all sides, where libtorch computes.
pub(in crate::ops) fn conv2d(
    input: &Tensor<4>,
    weight: &Tensor<4>,
    bias: &Tensor<1>,
    stride: usize,
    padding: usize,
) -> Option<Tensor<4>> {
    is_libtorch(&input.device()).then(|| {
        let (input, weight, bias) = (input.clone(), weight.clone(), bias.clone());
        let [input, weight, bias] = [input.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
        Tensor::from_dispatch(<Dispatch as LayerOps>::fused_conv2d(input, weight, bias, stride, padding))
    })
}

/// A group norm, where libtorch computes.
pub(in crate::ops) fn group_norm(
    input: &Tensor<4>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    groups: usize,
    eps: f64,
) -> Option<Tensor<4>> {
    is_libtorch(&input.device()).then(|| {
        let (input, weight, bias) = (input.clone(), weight.clone(), bias.clone());
        let [input, weight, bias] = [input.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
        Tensor::from_dispatch(<Dispatch as LayerOps>::fused_group_norm(input, weight, bias, groups, eps))
    })
}

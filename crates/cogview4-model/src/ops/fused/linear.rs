//! A linear layer with a backward of its own, on every backend: the gradient of the weight comes in the weight's order,
//! and the bias is added within the product where a kernel or libtorch does that.

use burn::{
    backend::{
        Backend, Dispatch, TensorMetadata,
        autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Shape, Tensor},
};

use super::{
    autodiff::{inner, record},
    precision::{cast, wide},
};
#[cfg(any(feature = "flex", feature = "libtorch"))]
use crate::device::is_flex;

/// `input W^T + bias` of `[R, in]`, `[out, in]` and `[out]`.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(any(feature = "cuda", feature = "wgpu")),
    Fusion: cfg(any(feature = "cuda", feature = "wgpu"))
)]
pub(super) trait LinearOps: Backend {
    #[fusion(default)]
    fn fused_linear(input: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        forward::<Self>(input, weight, bias)
    }

    /// Gradients of input, weight and bias.
    #[fusion(default)]
    fn fused_linear_backward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        backward::<Self>(input, weight, grad)
    }
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl LinearOps for burn_cubecl::CubeBackend {}

impl<B: LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn fused_linear(input: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let [x, w, b] = [&input, &weight, &bias].map(inner::<B, C>);
        let output = B::fused_linear(x.clone(), w.clone(), b);
        record::<B, C, _, 3>(
            &[input, weight, bias],
            output,
            || (x, w),
            |(x, w), grad| {
                let (input, weight, bias) = B::fused_linear_backward(x, w, grad);
                [input, weight, bias]
            },
        )
    }
}

pub(super) fn forward<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let features = bias.shape().num_elements();
    let product = B::float_matmul(input, B::float_transpose(weight));
    B::float_add(product, B::float_reshape(bias, Shape::new([1, features])))
}

pub(super) fn backward<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let dtype: DType = TensorMetadata::dtype(&grad);
    let sum = B::float_sum_dim(cast::<B>(grad.clone(), wide(dtype)), 0);
    let features = sum.shape().num_elements();
    let of_bias = cast::<B>(B::float_reshape(sum, Shape::new([features])), dtype);
    let of_weight = B::float_matmul(B::float_transpose(grad.clone()), input);
    (B::float_matmul(grad, weight), of_weight, of_bias)
}

/// Whether a product without a bias is better one with zeros: a kernel adds them for nothing.
#[cfg_attr(not(any(feature = "flex", feature = "libtorch")), expect(unused_variables, reason = "no kernel is there"))]
pub(in crate::ops) fn adds_bias(input: &Tensor<2>) -> bool {
    #[cfg(any(feature = "flex", feature = "libtorch"))]
    return super::serves_values(input)
        && (input.dtype() == DType::BF16 || is_flex(&input.device()))
        && super::host::products::is_served(input.dtype());
    #[cfg(not(any(feature = "flex", feature = "libtorch")))]
    return false;
}

/// See [`ops::linear`](crate::ops::linear).
pub(in crate::ops) fn linear(input: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let (input, weight, bias) = (input.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as LinearOps>::fused_linear(input, weight, bias))
}

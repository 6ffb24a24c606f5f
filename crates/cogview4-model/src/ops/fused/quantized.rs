//! A linear layer whose weight is in 8 bits, where the CPU reaches the memory.

#![cfg_attr(not(any(feature = "flex", feature = "libtorch")), allow(unused_variables, reason = "no kernel is there"))]

use burn::{
    backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};

use crate::ops::QuantizedMatrix;

/// `input W^T + bias` of `[R, in]`, `[out, in]` and `[out]`. The weight is frozen, and nothing is recorded.
#[backend_extension(Flex: cfg(feature = "flex"), LibTorch: cfg(feature = "libtorch"))]
pub(super) trait QuantizedOps: Backend {
    fn fused_quantized_linear(
        input: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        weight: QuantizedMatrix,
    ) -> FloatTensor<Self>;
}

/// Whether a kernel serves: elsewhere the weight is made a tensor first.
#[cfg_attr(not(any(feature = "flex", feature = "libtorch")), expect(unused_variables, reason = "no kernel is there"))]
pub(in crate::ops) fn serves_quantized<const D: usize>(input: &Tensor<D>) -> bool {
    #[cfg(any(feature = "flex", feature = "libtorch"))]
    return super::serves_values(input)
        && !input.device().is_autodiff()
        && super::host::products::serves_quantized(input.dtype())
        && !input.dims().contains(&0);
    #[cfg(not(any(feature = "flex", feature = "libtorch")))]
    return false;
}

/// See [`ops::quantized_linear`](crate::ops::quantized_linear).
pub(in crate::ops) fn quantized_linear(input: Tensor<2>, weight: QuantizedMatrix, bias: Tensor<1>) -> Tensor<2> {
    let (input, bias) = (input.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as QuantizedOps>::fused_quantized_linear(input, bias, weight))
}

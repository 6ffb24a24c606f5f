//! Operations as one pass over memory, on backends whose memory we reach.
//!
//! Each function gives `None` where the backend has no such kernel; the caller then composes the operation from Burn's.
//! A kernel changes how fast something is computed, never what.

mod flex;
mod simd;

use burn::{
    backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor},
    tensor::{DType, Device, Tensor},
};

/// The kernels that a backend brings.
#[backend_extension(Flex: cfg(feature = "flex"))]
trait FusedOps: Backend {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        is_causal: bool,
    ) -> FloatTensor<Self>;
    fn fused_gelu_tanh(input: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_silu(input: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Whether the kernels serve this tensor.
fn is_served<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device();
    device == Device::flex() && !device.is_autodiff() && tensor.dtype() == DType::F32
}

/// See [`ops::attention`](super::attention).
pub(super) fn attention(query: &Tensor<4>, key: &Tensor<4>, value: &Tensor<4>, is_causal: bool) -> Option<Tensor<4>> {
    let [query, key, value] = [query, key, value].map(Tensor::clone);
    is_served(&query).then(|| {
        let [query, key, value] = [query, key, value].map(Tensor::into_dispatch);
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_attention(query, key, value, is_causal))
    })
}

/// See [`ops::gelu_tanh`](super::gelu_tanh).
pub(super) fn gelu_tanh<const D: usize>(input: &Tensor<D>) -> Option<Tensor<D>> {
    is_served(input)
        .then(|| Tensor::from_dispatch(<Dispatch as FusedOps>::fused_gelu_tanh(input.clone().into_dispatch())))
}

/// See [`ops::silu`](super::silu).
pub(super) fn silu<const D: usize>(input: &Tensor<D>) -> Option<Tensor<D>> {
    is_served(input).then(|| Tensor::from_dispatch(<Dispatch as FusedOps>::fused_silu(input.clone().into_dispatch())))
}

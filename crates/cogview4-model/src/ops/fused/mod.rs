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

use super::RotaryTable;

/// The kernels that a backend brings.
#[backend_extension(Flex: cfg(feature = "flex"))]
trait FusedOps: Backend {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        is_causal: bool,
    ) -> FloatTensor<Self>;
    fn fused_modulate(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn fused_gated_add(
        residual: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gate: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn fused_norm_rotate(
        input: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f64,
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
    is_served(query).then(|| {
        let [query, key, value] = [query, key, value].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_attention(query, key, value, is_causal))
    })
}

/// See [`ops::modulate`](super::modulate).
pub(super) fn modulate(input: &Tensor<3>, scale: &Tensor<3>, shift: &Tensor<3>, eps: f64) -> Option<Tensor<3>> {
    is_served(input).then(|| {
        let [input, scale, shift] = [input, scale, shift].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_modulate(input, scale, shift, eps))
    })
}

/// See [`ops::gated_add`](super::gated_add).
pub(super) fn gated_add(residual: &Tensor<3>, output: &Tensor<3>, gate: &Tensor<3>) -> Option<Tensor<3>> {
    is_served(residual).then(|| {
        let [residual, output, gate] = [residual, output, gate].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_gated_add(residual, output, gate))
    })
}

/// See [`ops::norm_rotate`](super::norm_rotate).
pub(super) fn norm_rotate(input: &Tensor<4>, table: &RotaryTable, eps: f64) -> Option<Tensor<4>> {
    is_served(input).then(|| {
        let [cos, sin] = [&table.cos, &table.sin].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_norm_rotate(input.clone().into_dispatch(), cos, sin, eps))
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

//! Operations as one pass over memory, on backends whose memory we reach.
//!
//! Attention, GELU and linear layers are served on every backend. The others give `None` where the backend has no such
//! kernel; the caller then composes the operation from Burn's. A kernel changes how fast something is computed, never
//! what.

#![cfg_attr(feature = "libtorch", allow(deprecated, reason = "see `DeviceSpec`"))]

mod attention;
mod autodiff;
mod composed;
#[cfg(any(feature = "flex", feature = "libtorch"))]
#[macro_use]
mod host;
#[cfg(feature = "flex")]
mod flex;
mod gelu;
#[cfg(feature = "libtorch")]
mod layers;
#[cfg(feature = "libtorch")]
mod libtorch;
mod linear;
#[cfg(any(feature = "flex", feature = "libtorch"))]
mod simd;

use burn::{
    backend::{
        Backend, Dispatch,
        autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Device, Tensor},
};

use self::autodiff::{inner, record};
use super::RotaryTable;
use crate::device::is_flex;

pub(super) use attention::attention;
pub(super) use gelu::gelu_tanh;
#[cfg(feature = "libtorch")]
pub(super) use layers::{conv2d, group_norm};
pub(super) use linear::{adds_bias, linear};

/// The kernels that a backend brings, each with its backward.
#[backend_extension(Autodiff, Flex: cfg(feature = "flex"), LibTorch: cfg(feature = "libtorch"))]
trait FusedOps: Backend {
    fn fused_modulate(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    /// Gradients of input, scale and shift.
    fn fused_modulate_backward(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn fused_gated_add(
        residual: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gate: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Gradients of output and gate; that of the residual is the gradient itself.
    fn fused_gated_add_backward(
        output: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn fused_norm_rotate(
        input: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn fused_norm_rotate_backward(
        input: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn fused_silu(input: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_silu_backward(input: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Forward as the backend beneath does it; one step on the graph. Backwards have no graph of their own.
impl<B: FusedOps, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_modulate(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let [x, s, b] = [&input, &scale, &shift].map(inner::<B, C>);
        let output = B::fused_modulate(x.clone(), s.clone(), b, eps);
        record::<B, C, _, 3>(
            &[input, scale, shift],
            output,
            || (x, s, eps),
            |(x, s, eps), grad| {
                let (input, scale, shift) = B::fused_modulate_backward(x, s, grad, eps);
                [input, scale, shift]
            },
        )
    }

    fn fused_gated_add(
        residual: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gate: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [r, o, g] = [&residual, &output, &gate].map(inner::<B, C>);
        let sum = B::fused_gated_add(r, o.clone(), g.clone());
        record::<B, C, _, 3>(
            &[residual, output, gate],
            sum,
            || (o, g),
            |(o, g), grad| {
                let (output, gate) = B::fused_gated_add_backward(o, g, grad.clone());
                [grad, output, gate]
            },
        )
    }

    fn fused_norm_rotate(
        input: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let [x, c, s] = [&input, &cos, &sin].map(inner::<B, C>);
        let output = B::fused_norm_rotate(x.clone(), c.clone(), s.clone(), eps);
        record::<B, C, _, 1>(
            &[input],
            output,
            || (x, c, s, eps),
            |(x, c, s, eps), grad| [B::fused_norm_rotate_backward(x, c, s, grad, eps)],
        )
    }

    fn fused_silu(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = inner::<B, C>(&input);
        let output = B::fused_silu(x.clone());
        record::<B, C, _, 1>(&[input], output, || x, |x, grad| [B::fused_silu_backward(x, grad)])
    }

    fn fused_modulate_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("invariant: first derivatives only")
    }

    fn fused_gated_add_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("invariant: first derivatives only")
    }

    fn fused_norm_rotate_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
    ) -> FloatTensor<Self> {
        unreachable!("invariant: first derivatives only")
    }

    fn fused_silu_backward(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        unreachable!("invariant: first derivatives only")
    }
}

/// Whether the kernels serve this tensor: its values are in memory that the CPU reaches.
fn is_served<const D: usize>(tensor: &Tensor<D>) -> bool {
    has_attention(&tensor.device()) && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

/// Whether the attention takes keys and values that several queries share.
pub(super) fn shares_heads(query: &Tensor<4>) -> bool {
    is_flex(&query.device()) && query.dtype() != DType::F64 && !query.device().is_autodiff()
}

/// Whether a backend's own attention is better than what Burn has for it.
pub(super) fn has_attention(device: &Device) -> bool {
    is_flex(device) || is_libtorch(device)
}

/// Whether a device is libtorch's CPU.
#[cfg_attr(not(feature = "libtorch"), expect(unused_variables, reason = "no device is, then"))]
fn is_libtorch(device: &Device) -> bool {
    #[cfg(feature = "libtorch")]
    return *device == Device::libtorch();
    #[cfg(not(feature = "libtorch"))]
    return false;
}

/// See [`ops::modulate`](super::modulate).
pub(super) fn modulate(input: &Tensor<3>, scale: &Tensor<3>, shift: &Tensor<3>, eps: f64) -> Option<Tensor<3>> {
    is_served(input).then(|| {
        let [x, scale, shift] = [input, scale, shift].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_modulate(x, scale, shift, eps))
    })
}

/// See [`ops::gated_add`](super::gated_add).
pub(super) fn gated_add(residual: &Tensor<3>, output: &Tensor<3>, gate: &Tensor<3>) -> Option<Tensor<3>> {
    is_served(residual).then(|| {
        let [x, output, gate] = [residual, output, gate].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_gated_add(x, output, gate))
    })
}

/// See [`ops::norm_rotate`](super::norm_rotate).
pub(super) fn norm_rotate(input: &Tensor<4>, table: &RotaryTable, eps: f64) -> Option<Tensor<4>> {
    is_served(input).then(|| {
        let [cos, sin] = [&table.cos, &table.sin].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_norm_rotate(input.clone().into_dispatch(), cos, sin, eps))
    })
}

/// See [`ops::silu`](super::silu).
pub(super) fn silu<const D: usize>(input: &Tensor<D>) -> Option<Tensor<D>> {
    is_served(input).then(|| Tensor::from_dispatch(<Dispatch as FusedOps>::fused_silu(input.clone().into_dispatch())))
}

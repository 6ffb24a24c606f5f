//! Norms, modulations and SiLU, row by row: kernels with a backward of their own where a backend brings them.

#![cfg_attr(
    not(any(feature = "flex", feature = "libtorch")),
    expect(unused_variables, reason = "no backend takes the epsilon, then")
)]

use burn::{
    backend::{
        Backend, Dispatch,
        autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Tensor},
};

use super::{
    autodiff::{inner, record},
    reaches_memory,
};
use crate::ops::RotaryTable;

/// The kernels that a backend brings, each with its backward.
#[backend_extension(Autodiff, Flex: cfg(feature = "flex"), LibTorch: cfg(feature = "libtorch"))]
pub(super) trait RowOps: Backend {
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
impl<B: RowOps, C: CheckpointStrategy> RowOps for Autodiff<B, C> {
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
pub(super) fn is_served<const D: usize>(tensor: &Tensor<D>) -> bool {
    reaches_memory(&tensor.device()) && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

/// See [`ops::modulate`](crate::ops::modulate).
pub(in crate::ops) fn modulate(input: &Tensor<3>, scale: &Tensor<3>, shift: &Tensor<3>, eps: f64) -> Option<Tensor<3>> {
    is_served(input).then(|| {
        let [x, scale, shift] = [input, scale, shift].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as RowOps>::fused_modulate(x, scale, shift, eps))
    })
}

/// See [`ops::gated_add`](crate::ops::gated_add).
pub(in crate::ops) fn gated_add(residual: &Tensor<3>, output: &Tensor<3>, gate: &Tensor<3>) -> Option<Tensor<3>> {
    is_served(residual).then(|| {
        let [x, output, gate] = [residual, output, gate].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as RowOps>::fused_gated_add(x, output, gate))
    })
}

/// See [`ops::norm_rotate`](crate::ops::norm_rotate).
pub(in crate::ops) fn norm_rotate(input: &Tensor<4>, table: &RotaryTable, eps: f64) -> Option<Tensor<4>> {
    is_served(input).then(|| {
        let [cos, sin] = [&table.cos, &table.sin].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as RowOps>::fused_norm_rotate(input.clone().into_dispatch(), cos, sin, eps))
    })
}

/// See [`ops::silu`](crate::ops::silu).
pub(in crate::ops) fn silu<const D: usize>(input: &Tensor<D>) -> Option<Tensor<D>> {
    is_served(input).then(|| Tensor::from_dispatch(<Dispatch as RowOps>::fused_silu(input.clone().into_dispatch())))
}

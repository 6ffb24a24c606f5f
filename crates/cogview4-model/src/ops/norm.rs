//! Layer norm without weights, and the modulations around it: in f32, rounded once.

use burn::tensor::{Tensor, module};

use super::fused::{self, wide};

/// Normalises the last axis to mean 0 and variance 1: in f32, or in f64 where that is what comes, and left so.
pub(super) fn wide_layer_norm<const D: usize>(input: Tensor<D>, eps: f64) -> Tensor<D> {
    let wide = wide(input.dtype());
    let width = input.dims()[D - 1];
    // Burn's fused norm insists on a weight.
    let ones = Tensor::ones([width], (&input.device(), wide));
    module::layer_norm(input.cast(wide), ones, None, eps)
}

/// Normalises the last axis, then scales and shifts it: `layer_norm(input) * (1 + scale) + shift`.
///
/// # Shapes
/// `input` `[B, S, D]`; `scale` and `shift` `[B, 1, D]`.
pub fn modulate(input: Tensor<3>, scale: Tensor<3>, shift: Tensor<3>, eps: f64) -> Tensor<3> {
    fused::modulate(&input, &scale, &shift, eps).unwrap_or_else(|| {
        let dtype = input.dtype();
        let wide = wide(dtype);
        (wide_layer_norm(input, eps) * (scale.cast(wide) + 1.0) + shift.cast(wide)).cast(dtype)
    })
}

/// `residual + output * gate`.
///
/// # Shapes
/// `residual` and `output` `[B, S, D]`; `gate` `[B, 1, D]`.
pub fn gated_add(residual: Tensor<3>, output: Tensor<3>, gate: Tensor<3>) -> Tensor<3> {
    fused::gated_add(&residual, &output, &gate).unwrap_or_else(|| {
        let dtype = residual.dtype();
        let [residual, output, gate] = [residual, output, gate].map(|tensor| tensor.cast(wide(dtype)));
        (residual + output * gate).cast(dtype)
    })
}

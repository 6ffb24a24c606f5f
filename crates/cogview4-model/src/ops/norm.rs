//! Layer norm without weights, and the modulations around it.

use burn::tensor::{DType, Tensor, module};

use super::fused;

/// Normalises the last axis to mean 0 and variance 1, in f32.
///
/// # Shapes
/// `[..., D]`, unchanged.
pub fn layer_norm<const D: usize>(input: Tensor<D>, eps: f64) -> Tensor<D> {
    let dtype = input.dtype();
    let width = input.dims()[D - 1];
    // Burn's fused norm insists on a weight.
    let ones = Tensor::ones([width], (&input.device(), DType::F32));
    module::layer_norm(input.cast(DType::F32), ones, None, eps).cast(dtype)
}

/// Normalises the last axis, then scales and shifts it: `layer_norm(input) * (1 + scale) + shift`.
///
/// # Shapes
/// `input` `[B, S, D]`; `scale` and `shift` `[B, 1, D]`.
pub fn modulate(input: Tensor<3>, scale: Tensor<3>, shift: Tensor<3>, eps: f64) -> Tensor<3> {
    fused::modulate(&input, &scale, &shift, eps).unwrap_or_else(|| layer_norm(input, eps) * (scale + 1.0) + shift)
}

/// `residual + output * gate`.
///
/// # Shapes
/// `residual` and `output` `[B, S, D]`; `gate` `[B, 1, D]`.
pub fn gated_add(residual: Tensor<3>, output: Tensor<3>, gate: Tensor<3>) -> Tensor<3> {
    fused::gated_add(&residual, &output, &gate).unwrap_or_else(|| residual + output * gate)
}

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
/// `input` `[B, S, D]`; `scale` and `shift` `[B, 1, D]`, or `[B, 2, D]`: then the first is for tokens from `split` on, the
/// second for those before.
pub fn modulate(input: Tensor<3>, scale: Tensor<3>, shift: Tensor<3>, split: usize, eps: f64) -> Tensor<3> {
    fused::modulate(&input, [&scale, &shift], split, eps).unwrap_or_else(|| {
        let (dtype, [_, seq, _]) = (input.dtype(), input.dims());
        let [scale, shift] = [scale, shift].map(|tensor| for_tokens(tensor.cast(wide(dtype)), split, seq));
        (wide_layer_norm(input, eps) * (scale + 1.0) + shift).cast(dtype)
    })
}

/// `residual + output * gate`.
///
/// # Shapes
/// `residual` and `output` `[B, S, D]`; `gate` as the modulations of [`modulate`].
pub fn gated_add(residual: Tensor<3>, output: Tensor<3>, gate: Tensor<3>, split: usize) -> Tensor<3> {
    fused::gated_add(&residual, &output, &gate, split).unwrap_or_else(|| {
        let (dtype, [_, seq, _]) = (residual.dtype(), residual.dims());
        let gate = for_tokens(gate, split, seq);
        let [residual, output, gate] = [residual, output, gate].map(|tensor| tensor.cast(wide(dtype)));
        (residual + output * gate).cast(dtype)
    })
}

/// Modulations for each of `seq` tokens, where they are not the same for all.
fn for_tokens(modulations: Tensor<3>, split: usize, seq: usize) -> Tensor<3> {
    let [batch, groups, width] = modulations.dims();
    if groups == 1 {
        return modulations;
    }
    let of_tokens = |group, count: usize| modulations.clone().narrow(1, group, 1).expand([batch, count, width]);
    Tensor::cat(vec![of_tokens(1, split), of_tokens(0, seq - split)], 1)
}

//! Layer norm without weights.

use burn::tensor::{DType, Tensor, module};

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

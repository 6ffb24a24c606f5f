//! Activation functions.

use burn::tensor::{Tensor, activation::sigmoid};

use super::fused;

/// `x * sigmoid(x)`.
pub fn silu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    fused::silu(&input).unwrap_or_else(|| sigmoid(input.clone()) * input)
}

/// GELU in its tanh form: `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
///
/// Computed through `(1 + tanh(u)) / 2 = sigmoid(2 u)`, which takes fewer passes over memory and has the same
/// rounding error.
pub fn gelu_tanh<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    const DOUBLE_SQRT_2_OVER_PI: f64 = 1.595_769_121_605_730_8;
    fused::gelu_tanh(&input).unwrap_or_else(|| {
        let factor = input.clone().square() * (0.044_715 * DOUBLE_SQRT_2_OVER_PI) + DOUBLE_SQRT_2_OVER_PI;
        sigmoid(factor * input.clone()) * input
    })
}

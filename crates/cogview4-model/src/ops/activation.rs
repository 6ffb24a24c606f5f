//! Activation functions.

use burn::tensor::{Tensor, activation::sigmoid};

use super::fused;

/// `x * sigmoid(x)`.
pub fn silu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    fused::silu(&input).unwrap_or_else(|| sigmoid(input.clone()) * input)
}

/// GELU in its tanh form: `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`. The backward keeps the input only.
pub fn gelu_tanh<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    fused::gelu_tanh(input)
}

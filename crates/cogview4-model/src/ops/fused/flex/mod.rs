//! Kernels for the pure-Rust CPU backend, over the tensors' own memory.

mod attention;
mod rows;

use burn::backend::{Flex, flex::FlexTensor};

use super::{FusedOps, simd};

impl FusedOps for Flex {
    fn fused_attention(query: FlexTensor, key: FlexTensor, value: FlexTensor, is_causal: bool) -> FlexTensor {
        attention::attention(&query.to_contiguous(), &key.to_contiguous(), &value.to_contiguous(), is_causal)
    }

    fn fused_modulate(input: FlexTensor, scale: FlexTensor, shift: FlexTensor, eps: f64) -> FlexTensor {
        rows::modulate(&input, &scale, &shift, eps as f32)
    }

    fn fused_gated_add(residual: FlexTensor, output: FlexTensor, gate: FlexTensor) -> FlexTensor {
        rows::gated_add(&residual, &output, &gate)
    }

    fn fused_norm_rotate(input: FlexTensor, cos: FlexTensor, sin: FlexTensor, eps: f64) -> FlexTensor {
        rows::norm_rotate(&input, &cos, &sin, eps as f32)
    }

    fn fused_gelu_tanh(input: FlexTensor) -> FlexTensor {
        rows::map(input, simd::gelu_tanh)
    }

    fn fused_silu(input: FlexTensor) -> FlexTensor {
        rows::map(input, simd::silu)
    }
}

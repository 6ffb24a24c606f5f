//! Kernels for the pure-Rust CPU backend, over the tensors' own memory.

mod attention;
mod backward;
mod rows;

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::DType,
};

use super::{
    FusedOps,
    attention::AttentionOps,
    composed,
    gelu::{self, GeluOps},
    simd,
};

impl AttentionOps for Flex {
    fn fused_attention(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        bias: FlexTensor,
        is_causal: bool,
    ) -> (FlexTensor, FlexTensor) {
        if query.dtype() != DType::F32 {
            return composed::attention::<Self>(query, key, value, bias, is_causal);
        }
        let [query, key, value, bias] = [query, key, value, bias].map(|tensor| tensor.to_contiguous());
        attention::attention(&query, &key, &value, &bias, is_causal)
    }

    fn fused_attention_backward(
        grad: FlexTensor,
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        bias: FlexTensor,
        output: FlexTensor,
        logsumexp: FlexTensor,
        is_causal: bool,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if query.dtype() != DType::F32 {
            return composed::attention_backward::<Self>([grad, query, key, value, bias, output], is_causal);
        }
        let saved = [grad, query, key, value, output, logsumexp].map(|tensor| tensor.to_contiguous());
        let [query, key, value] = attention::attention_backward(&saved, &bias.to_contiguous(), is_causal);
        (query, key, value)
    }
}

impl GeluOps for Flex {
    fn fused_gelu_tanh(input: FlexTensor) -> FlexTensor {
        match input.dtype() {
            DType::F64 => gelu::forward::<Self>(input),
            dtype => {
                let input = composed::cast::<Self>(input, DType::F32);
                composed::cast::<Self>(rows::map(input, simd::gelu_tanh), dtype)
            }
        }
    }

    fn fused_gelu_tanh_backward(input: FlexTensor, grad: FlexTensor) -> FlexTensor {
        match input.dtype() {
            DType::F64 => gelu::backward::<Self>(input, grad),
            dtype => {
                let [input, grad] = [input, grad].map(|tensor| composed::cast::<Self>(tensor, DType::F32));
                composed::cast::<Self>(backward::multiply(&input, grad, simd::gelu_tanh_slope), dtype)
            }
        }
    }
}

impl FusedOps for Flex {
    fn fused_modulate(input: FlexTensor, scale: FlexTensor, shift: FlexTensor, eps: f64) -> FlexTensor {
        rows::modulate(&input, &scale, &shift, eps as f32)
    }

    fn fused_gated_add(residual: FlexTensor, output: FlexTensor, gate: FlexTensor) -> FlexTensor {
        rows::gated_add(&residual, &output, &gate)
    }

    fn fused_norm_rotate(input: FlexTensor, cos: FlexTensor, sin: FlexTensor, eps: f64) -> FlexTensor {
        rows::norm_rotate(&input, &cos, &sin, eps as f32)
    }

    fn fused_modulate_backward(
        input: FlexTensor,
        scale: FlexTensor,
        grad: FlexTensor,
        eps: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        backward::modulate(&input, &scale, &grad, eps as f32)
    }

    fn fused_gated_add_backward(output: FlexTensor, gate: FlexTensor, grad: FlexTensor) -> (FlexTensor, FlexTensor) {
        backward::gated_add(&output, &gate, &grad)
    }

    fn fused_norm_rotate_backward(
        input: FlexTensor,
        cos: FlexTensor,
        sin: FlexTensor,
        grad: FlexTensor,
        eps: f64,
    ) -> FlexTensor {
        backward::norm_rotate(&input, &cos, &sin, &grad, eps as f32)
    }

    fn fused_silu_backward(input: FlexTensor, grad: FlexTensor) -> FlexTensor {
        backward::multiply(&input, grad, simd::silu_slope)
    }

    fn fused_silu(input: FlexTensor) -> FlexTensor {
        rows::map(input, simd::silu)
    }
}

//! Kernels for the pure-Rust CPU backend, over the tensors' own memory.

mod attention;
mod elementwise;
mod picture;

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{Bytes, DType, Shape},
};
use burn_flex::Layout;
use half::bf16;

use super::{
    attention::{AttentionOps, RecordedAttentionOps, Saved, composed},
    gelu::{self, GeluOps},
    host::{self, HostTensor, Value},
    linear::{self, LinearOps},
    precision::cast,
    quantized::QuantizedOps,
    rows::{RecordedRowOps, RowOps},
    simd,
};
use crate::ops::QuantizedMatrix;

impl HostTensor for FlexTensor {
    fn dtype(&self) -> DType {
        self.dtype()
    }

    fn shape(&self) -> Vec<usize> {
        self.layout().shape().as_slice().to_vec()
    }

    fn contiguous(&self) -> Self {
        if self.is_contiguous() { self.clone() } else { self.to_contiguous() }
    }

    fn values<T: Value>(&self) -> &[T] {
        self.as_slice().expect("invariant: contiguous")
    }

    fn filled<T: Value>(&self, dims: &[usize], fill: impl FnOnce(&mut [T])) -> Self {
        let mut values = vec![T::zeroed(); dims.iter().product()];
        fill(&mut values);
        Self::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(dims.to_vec())), T::dtype())
    }
}

impl AttentionOps for Flex {
    fn fused_attention(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        bias: FlexTensor,
        is_causal: bool,
    ) -> FlexTensor {
        match query.dtype() {
            DType::F64 => composed::attention::<Self>(query, key, value, bias, is_causal),
            _ => attention_with_sums([query, key, value], bias, is_causal).0,
        }
    }
}

impl RecordedAttentionOps for Flex {
    type Saved = Saved<FlexTensor>;

    fn recorded_attention(inputs: [FlexTensor; 3], bias: FlexTensor, is_causal: bool) -> (FlexTensor, Self::Saved) {
        if inputs[0].dtype() == DType::F64 {
            return composed::recorded_attention::<Self>(inputs, bias, is_causal);
        }
        let (output, logsumexp) = attention_with_sums(inputs.clone(), bias.clone(), is_causal);
        let ([query, key, value], logsumexp) = (inputs, Some(logsumexp));
        (output.clone(), Saved { query, key, value, bias, is_causal, output, logsumexp })
    }

    fn attention_gradients(saved: Self::Saved, grad: FlexTensor) -> [FlexTensor; 3] {
        let Saved { query, key, value, bias, is_causal, output, logsumexp: Some(logsumexp) } = saved else {
            return composed::attention_gradients::<Self>(saved, grad);
        };
        let dtype = query.dtype();
        let (saved, bias) = ([grad, query, key, value, output, logsumexp], elementwise::widened(bias));
        if let Some(gradients) = attention::attention_backward_on_unit(&saved, &bias, is_causal) {
            return gradients;
        }
        let gradients = attention::attention_backward(&saved.map(elementwise::widened), &bias, is_causal);
        gradients.map(|gradient| elementwise::narrowed(gradient, dtype))
    }
}

/// The output, and the logarithm of the sum of the exponentials of each row's scores.
fn attention_with_sums(inputs: [FlexTensor; 3], bias: FlexTensor, is_causal: bool) -> (FlexTensor, FlexTensor) {
    let (dtype, bias) = (inputs[0].dtype(), elementwise::widened(bias));
    if dtype == DType::BF16 {
        let tensors = inputs.map(|tensor| tensor.contiguous());
        return attention::attention::<bf16>(tensors.each_ref(), &bias, is_causal);
    }
    let tensors = inputs.map(elementwise::widened);
    let (output, logsumexp) = attention::attention::<f32>(tensors.each_ref(), &bias, is_causal);
    (elementwise::narrowed(output, dtype), logsumexp)
}

impl GeluOps for Flex {
    fn fused_gelu_tanh(input: FlexTensor) -> FlexTensor {
        match input.dtype() {
            DType::F64 => gelu::forward::<Self>(input),
            DType::BF16 => host::map(&input, simd::gelu_tanh),
            _ => in_f32(input, |input| elementwise::map(input, simd::gelu_tanh)),
        }
    }

    fn fused_gelu_tanh_backward(input: FlexTensor, grad: FlexTensor) -> FlexTensor {
        match input.dtype() {
            DType::F64 => gelu::backward::<Self>(input, grad),
            DType::BF16 => host::multiply(&input, &grad, simd::gelu_tanh_slope),
            _ => {
                let input = cast::<Self>(input, DType::F32);
                in_f32(grad, |grad| elementwise::multiply(&input, grad, simd::gelu_tanh_slope))
            }
        }
    }
}

impl LinearOps for Flex {
    fn fused_linear(input: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        host::products::linear(&input, &weight, &bias).unwrap_or_else(|| linear::forward::<Self>(input, weight, bias))
    }

    fn fused_linear_backward(
        input: FlexTensor,
        weight: FlexTensor,
        grad: FlexTensor,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        host::products::linear_backward(&input, &weight, &grad)
            .unwrap_or_else(|| linear::backward::<Self>(input, weight, grad))
    }
}

impl QuantizedOps for Flex {
    fn fused_quantized_linear(input: FlexTensor, bias: FlexTensor, weight: QuantizedMatrix) -> FlexTensor {
        host::products::quantized_linear(&input, &weight, &bias)
    }
}

impl RowOps for Flex {
    fn fused_modulate(input: FlexTensor, scale: FlexTensor, shift: FlexTensor, split: usize, eps: f64) -> FlexTensor {
        host::modulate(&input, &scale, &shift, split, eps as f32)
    }

    fn fused_gated_add(residual: FlexTensor, output: FlexTensor, gate: FlexTensor, split: usize) -> FlexTensor {
        host::gated_add(&residual, &output, &gate, split)
    }

    fn fused_norm_rotate(input: FlexTensor, cos: FlexTensor, sin: FlexTensor, eps: f64) -> FlexTensor {
        host::norm_rotate(&input, &cos, &sin, eps as f32)
    }

    fn fused_silu(input: FlexTensor) -> FlexTensor {
        match input.dtype() {
            DType::BF16 => host::map(&input, simd::silu),
            _ => elementwise::map(input, simd::silu),
        }
    }
}

impl RecordedRowOps for Flex {
    type Norm = host::Norm<FlexTensor>;

    fn recorded_modulate(inputs: [FlexTensor; 3], split: usize, eps: f64) -> (FlexTensor, Self::Norm) {
        host::Norm::modulate(inputs, split, eps)
    }

    fn modulate_gradients(norm: Self::Norm, grad: FlexTensor) -> [FlexTensor; 3] {
        norm.modulate_gradients(&grad)
    }

    fn recorded_norm_rotate(inputs: [FlexTensor; 3], eps: f64) -> (FlexTensor, Self::Norm) {
        host::Norm::norm_rotate(inputs, eps)
    }

    fn norm_rotate_gradient(norm: Self::Norm, grad: FlexTensor) -> FlexTensor {
        norm.norm_rotate_gradient(&grad)
    }

    fn gated_add_gradients([output, gate]: [FlexTensor; 2], split: usize, grad: FlexTensor) -> [FlexTensor; 2] {
        host::gated_add_backward(&output, &gate, &grad, split).into()
    }

    fn silu_gradient(input: FlexTensor, grad: FlexTensor) -> FlexTensor {
        match input.dtype() {
            DType::BF16 => host::multiply(&input, &grad, simd::silu_slope),
            _ => elementwise::multiply(&input, grad, simd::silu_slope),
        }
    }
}

/// Computes in f32, and rounds once to the type that came.
fn in_f32(input: FlexTensor, function: impl FnOnce(FlexTensor) -> FlexTensor) -> FlexTensor {
    let dtype = input.dtype();
    cast::<Flex>(function(cast::<Flex>(input, DType::F32)), dtype)
}

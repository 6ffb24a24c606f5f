//! libtorch's own attention and GELU, forward and backward.

use burn::backend::{LibTorch, libtorch::TchTensor};

use super::{attention::AttentionOps, composed, gelu::GeluOps};

impl AttentionOps for LibTorch {
    fn fused_attention(
        query: TchTensor,
        key: TchTensor,
        value: TchTensor,
        bias: TchTensor,
        is_causal: bool,
    ) -> (TchTensor, TchTensor) {
        if query.tensor.device() != tch::Device::Cpu {
            return composed::attention::<Self>(query, key, value, bias, is_causal);
        }
        let [q, k, v] = [&query, &key, &value].map(rows_in_order);
        let mask = mask(&bias, &query);
        let (output, logsumexp) =
            tch::Tensor::internal_scaled_dot_product_flash_attention_for_cpu(&q, &k, &v, 0.0, is_causal, mask, None);
        (TchTensor::new(output), TchTensor::new(logsumexp))
    }

    fn fused_attention_backward(
        grad: TchTensor,
        query: TchTensor,
        key: TchTensor,
        value: TchTensor,
        bias: TchTensor,
        output: TchTensor,
        logsumexp: TchTensor,
        is_causal: bool,
    ) -> (TchTensor, TchTensor, TchTensor) {
        if query.tensor.device() != tch::Device::Cpu {
            return composed::attention_backward::<Self>([grad, query, key, value, bias, output], is_causal);
        }
        let mask = mask(&bias, &query);
        let [grad, query, key, value, output] = [&grad, &query, &key, &value, &output].map(rows_in_order);
        let (query, key, value) = tch::Tensor::internal_scaled_dot_product_flash_attention_for_cpu_backward(
            &grad,
            &query,
            &key,
            &value,
            &output,
            &logsumexp.tensor,
            0.0,
            is_causal,
            mask,
            None,
        );
        (TchTensor::new(query), TchTensor::new(key), TchTensor::new(value))
    }
}

impl GeluOps for LibTorch {
    fn fused_gelu_tanh(input: TchTensor) -> TchTensor {
        TchTensor::new(input.tensor.gelu("tanh"))
    }

    fn fused_gelu_tanh_backward(input: TchTensor, grad: TchTensor) -> TchTensor {
        TchTensor::new(input.tensor.gelu_backward(&grad.tensor, "tanh"))
    }
}

/// The kernels want the values of a head to lie next to each other.
fn rows_in_order(tensor: &TchTensor) -> tch::Tensor {
    match tensor.tensor.stride().last() {
        Some(1) => tensor.tensor.shallow_clone(),
        _ => tensor.tensor.contiguous(),
    }
}

/// A bias of more than one value, for every query.
fn mask(bias: &TchTensor, query: &TchTensor) -> Option<tch::Tensor> {
    let (size, seq_query) = (bias.tensor.size(), query.tensor.size()[2]);
    (bias.tensor.numel() > 1).then(|| bias.tensor.expand([size[0], 1, seq_query, size[3]], false))
}

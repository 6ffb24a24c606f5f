//! libtorch's own attention: on its CPU the kernel that we call directly, elsewhere whichever it chooses by shape, type
//! and mask (FlashAttention-2, Dao 2023, arXiv:2307.08691; cuDNN's; the memory-efficient one), recorded on its graph,
//! since tch has no call for their backwards.

use burn::backend::{LibTorch, libtorch::TchTensor};

use super::{graph::Graph, has_host_kernels, is_slow};
use crate::ops::fused::attention::{AttentionOps, RecordedAttentionOps, Saved};

impl AttentionOps for LibTorch {
    fn fused_attention(
        query: TchTensor,
        key: TchTensor,
        value: TchTensor,
        bias: TchTensor,
        is_causal: bool,
    ) -> TchTensor {
        match is_on_cpu(&query) {
            true => attention_on_cpu([&query, &key, &value], &bias, is_causal).0,
            false => TchTensor::new(library([&query.tensor, &key.tensor, &value.tensor], &bias, is_causal)),
        }
    }
}

impl RecordedAttentionOps for LibTorch {
    type Saved = SavedAttention;

    fn recorded_attention(inputs: [TchTensor; 3], bias: TchTensor, is_causal: bool) -> (TchTensor, SavedAttention) {
        if !is_on_cpu(&inputs[0]) {
            let (output, graph) = Graph::record(inputs, |inputs| library(inputs, &bias, is_causal));
            return (output, SavedAttention::Graph(graph));
        }
        let (output, logsumexp) = attention_on_cpu(inputs.each_ref(), &bias, is_causal);
        let ([query, key, value], logsumexp) = (inputs, Some(logsumexp));
        (output.clone(), SavedAttention::Cpu(Saved { query, key, value, bias, is_causal, output, logsumexp }))
    }

    fn attention_gradients(saved: SavedAttention, grad: TchTensor) -> [TchTensor; 3] {
        match saved {
            SavedAttention::Cpu(saved) => gradients_on_cpu(&saved, &grad),
            SavedAttention::Graph(graph) => graph.gradients(&grad.tensor),
        }
    }
}

/// What a backward reads.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one per attention")]
pub(in crate::ops::fused) enum SavedAttention {
    Cpu(Saved<TchTensor>),
    Graph(Graph<3>),
}

fn is_on_cpu(query: &TchTensor) -> bool {
    query.tensor.device() == tch::Device::Cpu && has_host_kernels()
}

/// The kernel of libtorch's choice.
pub(super) fn library([query, key, value]: [&tch::Tensor; 3], bias: &TchTensor, is_causal: bool) -> tch::Tensor {
    let mask = mask(bias, query, query.kind());
    tch::Tensor::scaled_dot_product_attention(query, key, value, mask, 0.0, is_causal, None, false)
}

/// The output, and the logarithm of the sum of the exponentials of each row's scores.
pub(super) fn attention_on_cpu(inputs: [&TchTensor; 3], bias: &TchTensor, is_causal: bool) -> (TchTensor, TchTensor) {
    let query = &inputs[0].tensor;
    let kind = kind_on_cpu(query);
    let [q, k, v] = inputs.map(|tensor| rows_in_order(tensor, kind));
    let mask = mask(bias, query, kind);
    let (output, logsumexp) =
        tch::Tensor::internal_scaled_dot_product_flash_attention_for_cpu(&q, &k, &v, 0.0, is_causal, mask, None);
    (TchTensor::new(output.to_kind(query.kind())), TchTensor::new(logsumexp))
}

pub(super) fn gradients_on_cpu(saved: &Saved<TchTensor>, grad: &TchTensor) -> [TchTensor; 3] {
    let narrow = saved.query.tensor.kind();
    let kind = kind_on_cpu(&saved.query.tensor);
    let mask = mask(&saved.bias, &saved.query.tensor, kind);
    let [grad, query, key, value, output] =
        [grad, &saved.query, &saved.key, &saved.value, &saved.output].map(|tensor| rows_in_order(tensor, kind));
    let logsumexp = saved.logsumexp.as_ref().expect("invariant: the forward gives it");
    let (query, key, value) = tch::Tensor::internal_scaled_dot_product_flash_attention_for_cpu_backward(
        &grad,
        &query,
        &key,
        &value,
        &output,
        &logsumexp.tensor,
        0.0,
        saved.is_causal,
        mask,
        None,
    );
    [query, key, value].map(|gradient| TchTensor::new(gradient.to_kind(narrow)))
}

/// Queries from which libtorch takes them in large blocks.
const LARGE_BLOCKS: i64 = 768;

/// The type that attention is computed in on the CPU. In bfloat16 each product of a block of queries is set up by oneDNN,
/// which for small blocks takes several times as long as the product; those in f32 are called directly.
fn kind_on_cpu(query: &tch::Tensor) -> tch::Kind {
    match query.kind() {
        _ if is_slow(query) => tch::Kind::Float,
        tch::Kind::BFloat16 if query.size()[2] < LARGE_BLOCKS => tch::Kind::Float,
        kind => kind,
    }
}

/// The kernels want the values of a head to lie next to each other.
fn rows_in_order(tensor: &TchTensor, kind: tch::Kind) -> tch::Tensor {
    let tensor = tensor.tensor.to_kind(kind);
    if tensor.stride().last() == Some(&1) { tensor } else { tensor.contiguous() }
}

/// A bias of more than one value, for every query.
fn mask(bias: &TchTensor, query: &tch::Tensor, kind: tch::Kind) -> Option<tch::Tensor> {
    let (size, seq_query) = (bias.tensor.size(), query.size()[2]);
    (bias.tensor.numel() > 1).then(|| bias.tensor.to_kind(kind).expand([size[0], 1, seq_query, size[3]], false))
}

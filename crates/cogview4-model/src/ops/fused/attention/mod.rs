//! Attention with a backward of its own, on every backend: neither direction holds the scores of more than a block of
//! queries, so that memory grows with the sequence and not with its square.

pub(super) mod composed;

use burn::{
    backend::{
        Backend, Dispatch,
        autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};

use super::autodiff::{inner, record};

/// Tensors are `[B, N, S, head_dim]`. `bias`, `[B, 1, 1, S_k]`, is added to the scores; one value stands for none.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(any(feature = "cuda", feature = "wgpu")),
    Fusion: cfg(any(feature = "cuda", feature = "wgpu"))
)]
pub(super) trait AttentionOps: Backend {
    /// The output, and the logarithm of the sum of the exponentials of each row's scores, `[B, N, S]`, for those
    /// backwards that read it.
    #[fusion(default)]
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        is_causal: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::attention::<Self>(query, key, value, bias, is_causal)
    }

    /// Gradients of query, key and value.
    #[fusion(default)]
    #[allow(clippy::too_many_arguments, reason = "the dispatch takes no structs")]
    fn fused_attention_backward(
        grad: FloatTensor<Self>,
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        output: FloatTensor<Self>,
        logsumexp: FloatTensor<Self>,
        is_causal: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let _ = logsumexp;
        composed::attention_backward::<Self>([grad, query, key, value, bias, output], is_causal)
    }
}

/// CubeCL fuses what the default is composed of.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl AttentionOps for burn_cubecl::CubeBackend {}

impl<B: AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        is_causal: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [q, k, v, bias] = [&query, &key, &value, &bias].map(inner::<B, C>);
        let (output, logsumexp) = B::fused_attention(q.clone(), k.clone(), v.clone(), bias.clone(), is_causal);
        let state = ([q, k, v, bias, output.clone(), logsumexp.clone()], is_causal);
        let recorded = record::<B, C, _, 3>(
            &[query, key, value],
            output,
            || state,
            |(saved, is_causal), grad| {
                let [query, key, value, bias, output, logsumexp] = saved;
                let (query, key, value) =
                    B::fused_attention_backward(grad, query, key, value, bias, output, logsumexp, is_causal);
                [query, key, value]
            },
        );
        (recorded, <Self as burn::backend::AutodiffBackend>::from_inner(logsumexp))
    }
}

/// See [`ops::attention`](crate::ops::attention).
pub(in crate::ops) fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Option<Tensor<4>>,
    is_causal: bool,
) -> Tensor<4> {
    let bias = bias.unwrap_or_else(|| Tensor::zeros([1; 4], (&query.device(), query.dtype())));
    let [query, key, value, bias] = [query, key, value, bias].map(Tensor::into_dispatch);
    let (output, _) = <Dispatch as AttentionOps>::fused_attention(query, key, value, bias, is_causal);
    Tensor::from_dispatch(output)
}

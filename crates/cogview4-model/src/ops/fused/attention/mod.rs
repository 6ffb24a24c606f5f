//! Attention with a backward of its own, on every backend: neither direction holds the scores of more than a block of
//! queries, so that memory grows with the sequence and not with its square.

#![cfg_attr(not(feature = "flex"), expect(unused_variables, reason = "no backend takes the sizes, then"))]

pub(super) mod composed;

use burn::{
    backend::{
        Backend, Dispatch,
        autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Tensor},
};

use super::autodiff::{inner, record};
#[cfg(feature = "flex")]
use super::host;

/// Tensors are `[B, N, S, head_dim]`. `bias`, `[B, 1, 1, S_k]`, is added to the scores; one value stands for none.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(any(feature = "cuda", feature = "wgpu")),
    Fusion: cfg(any(feature = "cuda", feature = "wgpu"))
)]
pub(super) trait AttentionOps: Backend {
    #[fusion(default)]
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        is_causal: bool,
    ) -> FloatTensor<Self> {
        composed::attention::<Self>(query, key, value, bias, is_causal)
    }
}

/// Its backward, and the forward that leaves behind what that reads.
pub(super) trait RecordedAttentionOps: AttentionOps {
    type Saved: Clone + Send + std::fmt::Debug + 'static;

    /// Of query, key and value.
    fn recorded_attention(
        inputs: [FloatTensor<Self>; 3],
        bias: FloatTensor<Self>,
        is_causal: bool,
    ) -> (FloatTensor<Self>, Self::Saved);

    /// Gradients of query, key and value.
    fn attention_gradients(saved: Self::Saved, grad: FloatTensor<Self>) -> [FloatTensor<Self>; 3];
}

/// What a backward reads that computes blocks of scores again.
#[derive(Debug, Clone)]
pub(super) struct Saved<T> {
    pub query: T,
    pub key: T,
    pub value: T,
    pub bias: T,
    pub is_causal: bool,
    pub output: T,
    /// The logarithm of the sum of the exponentials of each row's scores, `[B, N, S]`; those that do not read it have none.
    pub logsumexp: Option<T>,
}

/// CubeCL fuses what the default is composed of.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod cube {
    use burn::backend::fusion::{Fusion, FusionBackend};
    use burn_cubecl::CubeBackend;

    use super::*;

    impl AttentionOps for CubeBackend {}

    /// The backward is composed, whether operations are fused or not.
    macro_rules! composed_backward {
        () => {
            type Saved = Saved<FloatTensor<Self>>;

            fn recorded_attention(
                inputs: [FloatTensor<Self>; 3],
                bias: FloatTensor<Self>,
                is_causal: bool,
            ) -> (FloatTensor<Self>, Self::Saved) {
                composed::recorded_attention::<Self>(inputs, bias, is_causal)
            }

            fn attention_gradients(saved: Self::Saved, grad: FloatTensor<Self>) -> [FloatTensor<Self>; 3] {
                composed::attention_gradients::<Self>(saved, grad)
            }
        };
    }

    impl RecordedAttentionOps for CubeBackend {
        composed_backward!();
    }

    impl<B: FusionBackend> RecordedAttentionOps for Fusion<B>
    where
        Self: AttentionOps,
    {
        composed_backward!();
    }
}

impl<B: RecordedAttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        is_causal: bool,
    ) -> FloatTensor<Self> {
        let (inputs, bias) = ([query, key, value], inner::<B, C>(&bias));
        let (output, saved) = B::recorded_attention(inputs.each_ref().map(inner::<B, C>), bias, is_causal);
        record::<B, C, _, 3>(&inputs, output, || saved, B::attention_gradients)
    }
}

/// Bytes that each thread of the pure-Rust CPU has beside the tensors in the backward of a head with so many queries,
/// keys and values in each, where it is computed as it is; `None` where everything is widened to f32 first.
pub(crate) fn attention_scratch(dtype: DType, sizes: [usize; 3]) -> Option<u64> {
    #[cfg(feature = "flex")]
    return host::attention::is_on_unit(dtype, sizes).then(|| host::attention::backward_bytes(sizes));
    #[cfg(not(feature = "flex"))]
    return None;
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
    Tensor::from_dispatch(<Dispatch as AttentionOps>::fused_attention(query, key, value, bias, is_causal))
}

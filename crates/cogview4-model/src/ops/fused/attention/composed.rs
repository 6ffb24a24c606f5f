//! Attention of a backend's own operations, a block of queries at a time; scores are in f32 at least.

use burn::{
    backend::{Backend, TensorMetadata, tensor::FloatTensor},
    tensor::{Slice, TensorData},
};

use super::Saved;
use crate::ops::fused::precision::{cast, wide};

/// Query rows whose scores are held at a time.
const QUERY_ROWS: usize = 256;

/// See [`AttentionOps`](super::AttentionOps).
pub(in crate::ops::fused) fn attention<B: Backend>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    bias: FloatTensor<B>,
    is_causal: bool,
) -> FloatTensor<B> {
    let scores = Scores::<B>::new(&query, key, bias, is_causal);
    let block = |first| B::float_matmul(cast::<B>(scores.weights(&query, first), value.dtype()), value.clone());
    B::float_cat((0..scores.seq_query).step_by(QUERY_ROWS).map(block).collect(), 2)
}

/// See [`RecordedAttentionOps`](super::RecordedAttentionOps).
pub(in crate::ops::fused) fn recorded_attention<B: Backend>(
    [query, key, value]: [FloatTensor<B>; 3],
    bias: FloatTensor<B>,
    is_causal: bool,
) -> (FloatTensor<B>, Saved<FloatTensor<B>>) {
    let output = attention::<B>(query.clone(), key.clone(), value.clone(), bias.clone(), is_causal);
    (output.clone(), Saved { query, key, value, bias, is_causal, output, logsumexp: None })
}

/// See [`RecordedAttentionOps`](super::RecordedAttentionOps).
pub(in crate::ops::fused) fn attention_gradients<B: Backend>(
    saved: Saved<FloatTensor<B>>,
    grad: FloatTensor<B>,
) -> [FloatTensor<B>; 3] {
    let Saved { query, key, value, bias, is_causal, output, .. } = saved;
    let dtype = query.dtype();
    let wide = wide(dtype);
    let scores = Scores::<B>::new(&query, key.clone(), bias, is_causal);
    let (key_shape, device) = (key.shape(), key.device());
    let zeros = || B::float_zeros(key_shape.clone(), &device, wide.into());
    let (mut queries, mut keys, mut values) = (Vec::new(), zeros(), zeros());
    for first in (0..scores.seq_query).step_by(QUERY_ROWS) {
        let weights = scores.weights(&query, first);
        let [grad, output, query] = [&grad, &output, &query].map(|tensor| scores.rows(tensor, first));
        let of_values = B::float_matmul(B::float_swap_dims(cast::<B>(weights.clone(), dtype), 2, 3), grad.clone());
        values = B::float_add(values, cast::<B>(of_values, wide));
        // d softmax = p * (d p - sum(p * d p)), and that sum is the one of d out * out.
        let of_weights = cast::<B>(B::float_matmul(grad.clone(), B::float_swap_dims(value.clone(), 2, 3)), wide);
        let delta = B::float_sum_dim(B::float_mul(cast::<B>(grad, wide), cast::<B>(output, wide)), 3);
        let of_scores = B::float_mul(weights, B::float_sub(of_weights, delta));
        let of_scores = cast::<B>(B::float_mul_scalar(of_scores, scores.scale.into()), dtype);
        queries.push(B::float_matmul(of_scores.clone(), key.clone()));
        let of_keys = B::float_matmul(B::float_swap_dims(of_scores, 2, 3), query);
        keys = B::float_add(keys, cast::<B>(of_keys, wide));
    }
    [B::float_cat(queries, 2), cast::<B>(keys, dtype), cast::<B>(values, dtype)]
}

/// What the scores of a block of queries follow from.
struct Scores<B: Backend> {
    transposed_key: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    is_causal: bool,
    scale: f64,
    seq_query: usize,
    seq_key: usize,
}

impl<B: Backend> Scores<B> {
    fn new(query: &FloatTensor<B>, key: FloatTensor<B>, bias: FloatTensor<B>, is_causal: bool) -> Self {
        let (seq_query, head_dim) = (query.shape()[2], query.shape()[3]);
        Self {
            seq_query,
            seq_key: key.shape()[2],
            scale: 1.0 / (head_dim as f64).sqrt(),
            bias: (bias.shape().num_elements() > 1).then(|| cast::<B>(bias, wide(query.dtype()))),
            transposed_key: B::float_swap_dims(key, 2, 3),
            is_causal,
        }
    }

    /// The block of rows that begins at `first`.
    fn rows(&self, tensor: &FloatTensor<B>, first: usize) -> FloatTensor<B> {
        let end = (first + QUERY_ROWS).min(self.seq_query);
        let all = Slice::full();
        B::float_slice(tensor.clone(), &[all, all, Slice::from(first..end), all])
    }

    /// Softmax of the scores of a block.
    fn weights(&self, query: &FloatTensor<B>, first: usize) -> FloatTensor<B> {
        let block = self.rows(query, first);
        let wide = wide(query.dtype());
        let scores = cast::<B>(B::float_matmul(block, self.transposed_key.clone()), wide);
        let mut scores = B::float_mul_scalar(scores, self.scale.into());
        if let Some(bias) = &self.bias {
            scores = B::float_add(scores, bias.clone());
        }
        if self.is_causal {
            scores = B::float_add(scores, self.causal_bias(query, first));
        }
        let largest = B::float_max_dim(scores.clone(), 3);
        let exponentials = B::float_exp(B::float_sub(scores, largest));
        let sums = B::float_sum_dim(exponentials.clone(), 3);
        B::float_div(exponentials, sums)
    }

    /// Hides what lies behind each row: the last row sees all keys.
    fn causal_bias(&self, query: &FloatTensor<B>, first: usize) -> FloatTensor<B> {
        let rows = QUERY_ROWS.min(self.seq_query - first);
        let seen = |row: usize| (first + row + 1 + self.seq_key).saturating_sub(self.seq_query);
        let hide = |index: usize| match index % self.seq_key < seen(index / self.seq_key) {
            true => 0.0_f32,
            false => f32::NEG_INFINITY,
        };
        let values = (0..rows * self.seq_key).map(hide).collect::<Vec<_>>();
        let bias = B::float_from_data(TensorData::new(values, [1, 1, rows, self.seq_key]), &query.device());
        cast::<B>(bias, wide(query.dtype()))
    }
}

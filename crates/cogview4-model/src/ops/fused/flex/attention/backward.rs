//! The backward, head by head.

use burn::backend::flex::FlexTensor;
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Problem, QUERY_ROWS,
    matmul::{Plain, Transposed, matmul},
    tensor,
};
use crate::ops::fused::{
    host::{HostTensor, attention},
    simd,
};

/// What the backward reads, contiguous, in this order: gradient, query, key, value, output, logarithms of the sums.
pub(in super::super) type Saved = [FlexTensor; 6];

/// Gradients of query, key and value. Each head is worked on by one thread, block after block, so that sums are always
/// taken in the same order.
pub(in super::super) fn attention_backward(saved: &Saved, bias: &FlexTensor, is_causal: bool) -> [FlexTensor; 3] {
    let [_, query, key, ..] = saved;
    let (problem, batch) = Problem::new(query, key, bias, is_causal);
    let Problem { heads, kv_heads, seq_query, seq_key, head_dim, .. } = problem;
    assert_eq!(heads, kv_heads, "queries, keys and values have as many heads where there is a gradient");
    let [grad, query, key, value, output, logsumexp] = saved.each_ref().map(|tensor| tensor.storage::<f32>());
    let (query_size, key_size) = (seq_query * head_dim, seq_key * head_dim);
    let mut of_query = vec![0.0; batch * heads * query_size];
    let [mut of_key, mut of_value] = [0; 2].map(|_| vec![0.0; batch * heads * key_size]);
    of_query
        .par_chunks_mut(query_size)
        .zip(of_key.par_chunks_mut(key_size))
        .zip(of_value.par_chunks_mut(key_size))
        .enumerate()
        .for_each_init(
            <(Vec<f32>, Vec<f32>)>::default,
            |(weights, of_scores), (head, ((of_query, of_key), of_value))| {
                let queries = head * query_size..(head + 1) * query_size;
                let [grad, query, output] = [grad, query, output].map(|values| &values[queries.clone()]);
                let logsumexp = &logsumexp[head * seq_query..(head + 1) * seq_query];
                let (key, value) = (&key[problem.of_head(head)], &value[problem.of_head(head)]);
                for first_row in (0..seq_query).step_by(QUERY_ROWS) {
                    let last_row = (first_row + QUERY_ROWS).min(seq_query);
                    let (rows, columns) = (last_row - first_row, problem.seen(last_row - 1));
                    let block = first_row * head_dim..last_row * head_dim;
                    let [grad, query, output] = [grad, query, output].map(|values| &values[block.clone()]);
                    problem.scores(head, weights, query, key, columns);
                    of_scores.resize(rows * columns, 0.0);
                    let seen_value = &value[..columns * head_dim];
                    matmul(of_scores, false, Plain(grad), Transposed(seen_value), [rows, head_dim, columns], 1.0);
                    for row in 0..rows {
                        let of_row = row * columns..(row + 1) * columns;
                        let kernel = BackwardRow {
                            weights: &mut weights[of_row.clone()],
                            of_scores: &mut of_scores[of_row],
                            grad: &grad[row * head_dim..][..head_dim],
                            output: &output[row * head_dim..][..head_dim],
                            logsumexp: logsumexp[first_row + row],
                            seen: problem.seen(first_row + row),
                        };
                        Arch::new().dispatch(kernel);
                    }
                    let shape = [columns, rows, head_dim];
                    let seen = columns * head_dim;
                    matmul(&mut of_value[..seen], true, Transposed(weights), Plain(grad), shape, 1.0);
                    matmul(&mut of_key[..seen], true, Transposed(of_scores), Plain(query), shape, problem.scale);
                    let seen_key = Plain(&key[..seen]);
                    matmul(
                        &mut of_query[block],
                        false,
                        Plain(of_scores),
                        seen_key,
                        [rows, columns, head_dim],
                        problem.scale,
                    );
                }
            },
        );
    let key_shape = [batch, heads, seq_key, head_dim];
    [tensor(of_query, &[batch, heads, seq_query, head_dim]), tensor(of_key, &key_shape), tensor(of_value, &key_shape)]
}

/// As [`attention_backward`], of values in bfloat16 with sums in f32, where the CPU has a unit for them.
pub(in super::super) fn attention_backward_on_unit(
    saved: &Saved,
    bias: &FlexTensor,
    is_causal: bool,
) -> Option<[FlexTensor; 3]> {
    let [_, query, key, ..] = saved;
    let (problem, batch) = Problem::new(query, key, bias, is_causal);
    let Problem { heads, kv_heads, seq_query, seq_key, head_dim, .. } = problem;
    if heads != kv_heads || !attention::is_on_unit(query.dtype(), [seq_query, seq_key, head_dim]) {
        return None;
    }
    let saved = saved.each_ref().map(|tensor| tensor.contiguous());
    let [grad, query, key, value, output] = [0, 1, 2, 3, 4].map(|index| saved[index].values::<bf16>());
    let logsumexp = saved[5].values::<f32>();
    let (query_size, key_size) = (seq_query * head_dim, seq_key * head_dim);
    let mut of_query = vec![bf16::ZERO; batch * heads * query_size];
    let [mut of_key, mut of_value] = [0; 2].map(|_| vec![bf16::ZERO; batch * heads * key_size]);
    let gradients = of_query.par_chunks_mut(query_size).zip(of_key.par_chunks_mut(key_size));
    gradients.zip(of_value.par_chunks_mut(key_size)).enumerate().for_each_init(
        attention::Backward::default,
        |backward, (head, ((of_query, of_key), of_value))| {
            let queries = head * query_size..(head + 1) * query_size;
            let [grad, query, output] = [grad, query, output].map(|values| &values[queries.clone()]);
            let logsumexp = &logsumexp[head * seq_query..(head + 1) * seq_query];
            let keys = problem.of_head(head);
            let of_unit = problem.on_unit(head, [&key[keys.clone()], &value[keys]]);
            let saved = attention::Saved { grad, query, output, logsumexp };
            backward.run(of_unit, saved, |row| problem.seen(row), [of_query, of_key, of_value]);
        },
    );
    let key_shape = [batch, heads, seq_key, head_dim];
    Some([
        tensor(of_query, &[batch, heads, seq_query, head_dim]),
        tensor(of_key, &key_shape),
        tensor(of_value, &key_shape),
    ])
}

/// One row: scores to weights, and gradients of the weights to those of the scores.
struct BackwardRow<'a> {
    weights: &'a mut [f32],
    of_scores: &'a mut [f32],
    grad: &'a [f32],
    output: &'a [f32],
    logsumexp: f32,
    seen: usize,
}

impl WithSimd for BackwardRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        // The sum of weight times gradient over the row is that of output times gradient.
        let delta = simd::dot(self.grad, self.output);
        let (seen, hidden) = self.weights.split_at_mut(self.seen);
        let (seen_scores, hidden_scores) = self.of_scores.split_at_mut(self.seen);
        for (weight, of_score) in seen.iter_mut().zip(seen_scores) {
            *weight = simd::exp(*weight - self.logsumexp);
            *of_score = *weight * (*of_score - delta);
        }
        hidden.fill(0.0);
        hidden_scores.fill(0.0);
    }
}

//! The backward, head by head.

use burn::backend::flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Problem, QUERY_ROWS,
    matmul::{Plain, Transposed, matmul},
    tensor,
};
use crate::ops::fused::{
    host::{HostTensor, Value, attention},
    simd,
};

/// What the backward reads, contiguous, in this order: gradient, query, key, value, output, logarithms of the sums.
pub(in super::super) type Saved = [FlexTensor; 6];

/// What a head's backward reads, and the gradients that it writes.
struct OfHead<'a, T> {
    head: usize,
    grad: &'a [T],
    query: &'a [T],
    key: &'a [T],
    value: &'a [T],
    output: &'a [T],
    logsumexp: &'a [f32],
    /// Of query, key and value.
    gradients: [&'a mut [T]; 3],
}

/// Gradients of query, key and value. Each head is worked on by one thread, so that sums are always taken in the same
/// order; `S` is what a thread needs for it.
fn by_heads<T: Value, S: Default>(
    saved: &Saved,
    (problem, batch): (&Problem<'_>, usize),
    run: impl Fn(&mut S, OfHead<'_, T>) + Sync,
) -> [FlexTensor; 3] {
    let Problem { heads, seq_query, seq_key, head_dim, .. } = *problem;
    let [grad, query, key, value, output] = [0, 1, 2, 3, 4].map(|index| saved[index].values::<T>());
    let logsumexp = saved[5].values::<f32>();
    let (query_size, key_size) = (seq_query * head_dim, seq_key * head_dim);
    let mut of_query = vec![T::zeroed(); batch * heads * query_size];
    let [mut of_key, mut of_value] = [0; 2].map(|_| vec![T::zeroed(); batch * heads * key_size]);
    let gradients = of_query.par_chunks_mut(query_size).zip(of_key.par_chunks_mut(key_size));
    let gradients = gradients.zip(of_value.par_chunks_mut(key_size)).enumerate();
    gradients.for_each_init(S::default, |scratch, (head, ((of_query, of_key), of_value))| {
        let queries = head * query_size..(head + 1) * query_size;
        let [grad, query, output] = [grad, query, output].map(|values| &values[queries.clone()]);
        let [key, value] = [key, value].map(|values| &values[problem.of_head(head)]);
        let logsumexp = &logsumexp[head * seq_query..(head + 1) * seq_query];
        let gradients = [of_query, of_key, of_value];
        run(scratch, OfHead { head, grad, query, key, value, output, logsumexp, gradients });
    });
    let key_shape = [batch, heads, seq_key, head_dim];
    [tensor(of_query, &[batch, heads, seq_query, head_dim]), tensor(of_key, &key_shape), tensor(of_value, &key_shape)]
}

/// Gradients of query, key and value, block after block of queries.
pub(in super::super) fn attention_backward(saved: &Saved, bias: &FlexTensor, is_causal: bool) -> [FlexTensor; 3] {
    let [_, query, key, ..] = saved;
    let (problem, batch) = Problem::new(query, key, bias, is_causal);
    let Problem { heads, kv_heads, seq_query, head_dim, .. } = problem;
    assert_eq!(heads, kv_heads, "queries, keys and values have as many heads where there is a gradient");
    by_heads(saved, (&problem, batch), |(weights, of_scores): &mut (Vec<f32>, Vec<f32>), of_head| {
        let OfHead { head, grad, query, key, value, output, logsumexp, gradients } = of_head;
        let [of_query, of_key, of_value] = gradients;
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
            let (shape, seen) = ([columns, rows, head_dim], columns * head_dim);
            matmul(&mut of_value[..seen], true, Transposed(weights), Plain(grad), shape, 1.0);
            matmul(&mut of_key[..seen], true, Transposed(of_scores), Plain(query), shape, problem.scale);
            let shape = [rows, columns, head_dim];
            matmul(&mut of_query[block], false, Plain(of_scores), Plain(&key[..seen]), shape, problem.scale);
        }
    })
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
    let saved = saved.each_ref().map(HostTensor::contiguous);
    Some(by_heads(&saved, (&problem, batch), |backward: &mut attention::Backward, of_head| {
        let OfHead { head, grad, query, key, value, output, logsumexp, gradients } = of_head;
        let saved = attention::Saved { grad, query, output, logsumexp };
        backward.run(problem.on_unit(head, [key, value]), saved, |row| problem.seen(row), gradients);
    }))
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

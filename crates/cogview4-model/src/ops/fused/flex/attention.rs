//! Attention over blocks of queries, and its backward.

use burn::{
    backend::flex::FlexTensor,
    tensor::{Bytes, DType, Shape},
};
use burn_flex::Layout;
use gemm::Parallelism;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::ops::fused::simd;

/// Query rows that are worked on together: their scores stay in the cache.
const QUERY_ROWS: usize = 128;

/// Sizes of a call, and the bias that is added to the scores of each sample.
struct Problem<'a> {
    heads: usize,
    kv_heads: usize,
    seq_query: usize,
    seq_key: usize,
    head_dim: usize,
    scale: f32,
    bias: Option<&'a [f32]>,
    is_causal: bool,
}

impl<'a> Problem<'a> {
    fn new(query: &FlexTensor, key: &FlexTensor, bias: &'a FlexTensor, is_causal: bool) -> (Self, usize) {
        let dims = |tensor: &FlexTensor| -> [usize; 4] {
            tensor.layout().shape().as_slice().try_into().expect("invariant: attention has four axes")
        };
        let ([batch, heads, seq_query, head_dim], [_, kv_heads, seq_key, _]) = (dims(query), dims(key));
        let bias = bias.storage::<f32>();
        let problem = Self {
            heads,
            kv_heads,
            seq_query,
            seq_key,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            bias: (bias.len() > 1).then_some(bias),
            is_causal,
        };
        (problem, batch)
    }

    /// Keys that a row sees; with a causal mask, the last row sees all.
    fn seen(&self, row: usize) -> usize {
        match self.is_causal {
            true => (row + 1 + self.seq_key).saturating_sub(self.seq_query),
            false => self.seq_key,
        }
    }

    /// Where the keys and values of a head are.
    fn of_head(&self, head: usize) -> std::ops::Range<usize> {
        let kv_head = head / self.heads * self.kv_heads + head % self.heads / (self.heads / self.kv_heads);
        let size = self.seq_key * self.head_dim;
        kv_head * size..(kv_head + 1) * size
    }

    /// The bias of a head's sample.
    fn bias(&self, head: usize) -> Option<&'a [f32]> {
        let sample = head / self.heads;
        self.bias.map(|bias| &bias[sample * self.seq_key..(sample + 1) * self.seq_key])
    }

    /// Scaled and biased scores of some rows over the first `columns` keys.
    fn scores(&self, head: usize, scores: &mut Vec<f32>, query: &[f32], key: &[f32], columns: usize) {
        let rows = query.len() / self.head_dim;
        scores.resize(rows * columns, 0.0);
        let key = Transposed(&key[..columns * self.head_dim]);
        matmul(scores, false, Plain(query), key, [rows, self.head_dim, columns], self.scale);
        if let Some(bias) = self.bias(head) {
            for scores in scores.chunks_exact_mut(columns) {
                scores.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
            }
        }
    }
}

/// Exact attention, a block of queries at a time, so that memory grows with the sequence and not with its square. Also
/// gives the logarithm of the sum of the exponentials of each row's scores.
pub(super) fn attention(
    query: &FlexTensor,
    key: &FlexTensor,
    value: &FlexTensor,
    bias: &FlexTensor,
    is_causal: bool,
) -> (FlexTensor, FlexTensor) {
    let (problem, batch) = Problem::new(query, key, bias, is_causal);
    let Problem { heads, seq_query, head_dim, .. } = problem;
    let (query, key, value) = (query.storage::<f32>(), key.storage::<f32>(), value.storage::<f32>());
    let mut output = vec![0.0; batch * heads * seq_query * head_dim];
    let mut logsumexp = vec![0.0; batch * heads * seq_query];
    let of_heads = output.par_chunks_mut(seq_query * head_dim).zip(logsumexp.par_chunks_mut(seq_query));
    let blocks = of_heads.zip(query.par_chunks(seq_query * head_dim)).enumerate().flat_map(
        |(head, ((output, logsumexp), query))| {
            let size = QUERY_ROWS * head_dim;
            let of_blocks = output.par_chunks_mut(size).zip(logsumexp.par_chunks_mut(QUERY_ROWS));
            of_blocks.zip(query.par_chunks(size)).enumerate().map(move |(block, parts)| (head, block, parts))
        },
    );
    blocks.for_each_init(Vec::new, |scores, (head, block, ((output, logsumexp), query))| {
        let (key, value) = (&key[problem.of_head(head)], &value[problem.of_head(head)]);
        let first_row = block * QUERY_ROWS;
        let rows = query.len() / head_dim;
        // Keys behind the last row of the block are seen by none of its rows.
        let columns = problem.seen(first_row + rows - 1);
        problem.scores(head, scores, query, key, columns);
        let mut inverse_sums = [0.0; QUERY_ROWS];
        for (row, scores) in scores.chunks_exact_mut(columns).enumerate() {
            let (seen, hidden) = scores.split_at_mut(problem.seen(first_row + row));
            let (largest, sum) = Arch::new().dispatch(ExpRow(seen));
            hidden.fill(0.0);
            inverse_sums[row] = 1.0 / sum;
            logsumexp[row] = largest + sum.ln();
        }
        matmul(output, false, Plain(scores), Plain(&value[..columns * head_dim]), [rows, columns, head_dim], 1.0);
        for (output, inverse) in output.chunks_exact_mut(head_dim).zip(inverse_sums) {
            output.iter_mut().for_each(|value| *value *= inverse);
        }
    });
    (tensor(output, &[batch, heads, seq_query, head_dim]), tensor(logsumexp, &[batch, heads, seq_query]))
}

/// What the backward reads, contiguous, in this order: gradient, query, key, value, output, logarithms of the sums.
pub(super) type Saved = [FlexTensor; 6];

/// Gradients of query, key and value. Each head is worked on by one thread, block after block, so that sums are always
/// taken in the same order.
pub(super) fn attention_backward(saved: &Saved, bias: &FlexTensor, is_causal: bool) -> [FlexTensor; 3] {
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

struct ExpRow<'a>(&'a mut [f32]);

impl WithSimd for ExpRow<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> (f32, f32) {
        simd::exp_row(self.0)
    }
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

/// A matrix that lies in memory row by row as a product takes it, or transposed.
enum Operand<'a> {
    Plain(&'a [f32]),
    Transposed(&'a [f32]),
}
use Operand::{Plain, Transposed};

impl<'a> Operand<'a> {
    /// The values, and the strides of columns and rows of a matrix with so many of them.
    fn strides(self, rows: usize, columns: usize) -> (&'a [f32], isize, isize) {
        match self {
            Plain(matrix) => (matrix, 1, columns as isize),
            Transposed(matrix) => (matrix, rows as isize, 1),
        }
    }
}

/// `output = scale * left * right` on the calling thread, or `+=` when it accumulates; `left` is `[m, k]`, `right`
/// `[k, n]`, `output` `[m, n]` and row-major.
#[expect(unsafe_code, reason = "gemm takes pointers")]
fn matmul(output: &mut [f32], add: bool, left: Operand<'_>, right: Operand<'_>, [m, k, n]: [usize; 3], scale: f32) {
    let (left, left_column, left_row) = left.strides(m, k);
    let (right, right_column, right_row) = right.strides(k, n);
    assert_eq!((output.len(), left.len(), right.len()), (m * n, m * k, k * n), "matrices have the sizes given");
    // SAFETY: with the strides above and the sizes just checked, every index lies within its slice, and `output` is
    // borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            n as isize,
            add,
            left.as_ptr(),
            left_column,
            left_row,
            right.as_ptr(),
            right_column,
            right_row,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape.to_vec())), DType::F32)
}

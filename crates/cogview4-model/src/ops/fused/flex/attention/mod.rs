//! Attention over blocks of queries, and its backward.

mod backward;
mod matmul;

use burn::{
    backend::flex::FlexTensor,
    tensor::{Bytes, DType, Shape},
};
use burn_flex::Layout;
use bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

pub(super) use backward::{attention_backward, attention_backward_on_unit};

use self::matmul::{Plain, Transposed, matmul};
use crate::ops::fused::{
    host::{HostTensor, Value, attention},
    simd,
};

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

    /// A head as the matrix unit takes it, of keys and values in bfloat16.
    fn on_unit<'b, T: Value>(&self, head: usize, [key, value]: [&'b [T]; 2]) -> attention::Head<'b>
    where
        'a: 'b,
    {
        attention::Head {
            index: self.of_head(head).start,
            key: cast_slice(key),
            value: cast_slice(value),
            head_dim: self.head_dim,
            scale: self.scale,
            bias: self.bias(head),
        }
    }

    /// Output and logarithms of the sums of a block of rows that begins at `first_row`.
    fn block(
        &self,
        head: usize,
        first_row: usize,
        [query, key, value]: [&[f32]; 3],
        scores: &mut Vec<f32>,
        output: &mut [f32],
        logsumexp: &mut [f32],
    ) {
        let head_dim = self.head_dim;
        let rows = query.len() / head_dim;
        // Keys behind the last row of the block are seen by none of its rows.
        let columns = self.seen(first_row + rows - 1);
        self.scores(head, scores, query, key, columns);
        let mut inverse_sums = [0.0; QUERY_ROWS];
        for (row, scores) in scores.chunks_exact_mut(columns).enumerate() {
            let (seen, hidden) = scores.split_at_mut(self.seen(first_row + row));
            let (largest, sum) = Arch::new().dispatch(ExpRow(seen));
            hidden.fill(0.0);
            inverse_sums[row] = 1.0 / sum;
            logsumexp[row] = largest + sum.ln();
        }
        matmul(output, false, Plain(scores), Plain(&value[..columns * head_dim]), [rows, columns, head_dim], 1.0);
        for (output, inverse) in output.chunks_exact_mut(head_dim).zip(inverse_sums) {
            output.iter_mut().for_each(|value| *value *= inverse);
        }
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
/// gives the logarithm of the sum of the exponentials of each row's scores. What is not in f32 is widened block by
/// block, keys and values head by head, and the output rounded once.
pub(super) fn attention<T: Value>(
    [query, key, value]: [&FlexTensor; 3],
    bias: &FlexTensor,
    is_causal: bool,
) -> (FlexTensor, FlexTensor) {
    let (problem, batch) = Problem::new(query, key, bias, is_causal);
    let Problem { heads, seq_query, head_dim, .. } = problem;
    let [queries, keys, values] = [query, key, value].map(|tensor| tensor.values::<T>());
    let is_on_unit = attention::is_on_unit(T::dtype(), [seq_query, problem.seq_key, head_dim]);
    let mut logsumexp = vec![0.0; batch * heads * seq_query];
    let output = query.filled(&[batch, heads, seq_query, head_dim], |output: &mut [T]| {
        let of_heads = output.par_chunks_mut(seq_query * head_dim).zip(logsumexp.par_chunks_mut(seq_query));
        let blocks = of_heads.zip(queries.par_chunks(seq_query * head_dim)).enumerate().flat_map(
            |(head, ((output, logsumexp), query))| {
                let size = QUERY_ROWS * head_dim;
                let of_blocks = output.par_chunks_mut(size).zip(logsumexp.par_chunks_mut(QUERY_ROWS));
                of_blocks.zip(query.par_chunks(size)).enumerate().map(move |(block, parts)| (head, block, parts))
            },
        );
        blocks.for_each_init(Scratch::default, |scratch, (head, block, ((output, logsumexp), query))| {
            let of_head = problem.of_head(head);
            if is_on_unit {
                let of_unit = problem.on_unit(head, [&keys[of_head.clone()], &values[of_head]]);
                let seen = |row| problem.seen(block * QUERY_ROWS + row);
                scratch.unit.forward(of_unit, cast_slice(query), seen, cast_slice_mut(output), logsumexp);
                return;
            }
            let Scratch { key, value, query: wide_query, output: wide_output, scores, .. } = scratch;
            wide_query.resize(query.len(), 0.0);
            wide_output.resize(output.len(), 0.0);
            let key = key.of(of_head.start, &keys[of_head.clone()]);
            let value = value.of(of_head.start, &values[of_head]);
            let query = T::wide(query, wide_query);
            T::write(output, wide_output, |output| {
                problem.block(head, block * QUERY_ROWS, [query, key, value], scores, output, logsumexp);
            });
        });
    });
    (output, tensor(logsumexp, &[batch, heads, seq_query]))
}

/// What a thread needs beside the tensors.
#[derive(Default)]
struct Scratch {
    key: Widened,
    value: Widened,
    query: Vec<f32>,
    output: Vec<f32>,
    scores: Vec<f32>,
    unit: attention::Scratch,
}

/// Values in f32, which stay from one block of a head to the next.
#[derive(Default)]
struct Widened {
    /// Where the values are from.
    start: Option<usize>,
    values: Vec<f32>,
}

impl Widened {
    /// The values in f32; those that are from `start` are widened once.
    fn of<'a, T: Value>(&'a mut self, start: usize, values: &'a [T]) -> &'a [f32] {
        if T::dtype() == DType::F32 {
            return cast_slice(values);
        }
        if self.start != Some(start) {
            self.values.resize(values.len(), 0.0);
            T::wide(values, &mut self.values);
            self.start = Some(start);
        }
        &self.values
    }
}

struct ExpRow<'a>(&'a mut [f32]);

impl WithSimd for ExpRow<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> (f32, f32) {
        simd::exp_row(self.0)
    }
}

fn tensor<T: Value>(values: Vec<T>, shape: &[usize]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape.to_vec())), T::dtype())
}

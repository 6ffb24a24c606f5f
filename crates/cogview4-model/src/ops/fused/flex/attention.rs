//! Attention over blocks of queries.

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

/// Exact attention, a block of queries at a time, so that memory grows with the sequence and not with its square.
pub(super) fn attention(query: &FlexTensor, key: &FlexTensor, value: &FlexTensor, is_causal: bool) -> FlexTensor {
    let dims = |tensor: &FlexTensor| -> [usize; 4] {
        tensor.layout().shape().as_slice().try_into().expect("invariant: attention has four axes")
    };
    let ([batch, heads, seq_query, head_dim], [_, kv_heads, seq_key, _]) = (dims(query), dims(key));
    let scale = 1.0 / (head_dim as f32).sqrt();
    let (query, key, value) = (query.storage::<f32>(), key.storage::<f32>(), value.storage::<f32>());
    let mut output = vec![0.0; batch * heads * seq_query * head_dim];
    let blocks =
        output.par_chunks_mut(seq_query * head_dim).zip(query.par_chunks(seq_query * head_dim)).enumerate().flat_map(
            |(head, (output, query))| {
                let rows = QUERY_ROWS * head_dim;
                output
                    .par_chunks_mut(rows)
                    .zip(query.par_chunks(rows))
                    .enumerate()
                    .map(move |(block, (o, q))| (head, block, o, q))
            },
        );
    blocks.for_each_init(Vec::new, |scores, (head, block, output, query)| {
        let kv_head = head / heads * kv_heads + head % heads / (heads / kv_heads);
        let of_head = kv_head * seq_key * head_dim..(kv_head + 1) * seq_key * head_dim;
        let (key, value) = (&key[of_head.clone()], &value[of_head]);
        let first_row = block * QUERY_ROWS;
        let rows = query.len() / head_dim;
        // With a causal mask, keys behind the last row of the block are seen by none of its rows.
        let seen = |row: usize| if is_causal { (row + 1 + seq_key).saturating_sub(seq_query) } else { seq_key };
        let columns = seen(first_row + rows - 1);
        scores.resize(rows * columns, 0.0);
        matmul(scores, query, Transposed(&key[..columns * head_dim]), [rows, head_dim, columns], scale);
        let mut sums = [0.0; QUERY_ROWS];
        for (row, (scores, sum)) in scores.chunks_exact_mut(columns).zip(&mut sums).enumerate() {
            let (seen, hidden) = scores.split_at_mut(seen(first_row + row));
            *sum = Arch::new().dispatch(ExpRow(seen));
            hidden.fill(0.0);
        }
        matmul(output, scores, Plain(&value[..columns * head_dim]), [rows, columns, head_dim], 1.0);
        for (output, sum) in output.chunks_exact_mut(head_dim).zip(sums) {
            let inverse = 1.0 / sum;
            output.iter_mut().for_each(|value| *value *= inverse);
        }
    });
    let shape = Shape::from([batch, heads, seq_query, head_dim]);
    FlexTensor::new(Bytes::from_elems(output), Layout::contiguous(shape), DType::F32)
}

struct ExpRow<'a>(&'a mut [f32]);

impl WithSimd for ExpRow<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> f32 {
        simd::exp_row(self.0)
    }
}

/// A row-major matrix that a product takes as it is, `[k, n]`, or transposed, `[n, k]`.
enum Operand<'a> {
    Plain(&'a [f32]),
    Transposed(&'a [f32]),
}
use Operand::{Plain, Transposed};

/// `output = scale * left * right` on the calling thread; `left` is `[m, k]`, `output` `[m, n]`, row-major.
#[expect(unsafe_code, reason = "gemm takes pointers")]
fn matmul(output: &mut [f32], left: &[f32], right: Operand<'_>, [m, k, n]: [usize; 3], scale: f32) {
    let (right, (right_column, right_row)) = match right {
        Plain(matrix) => (matrix, (1, n as isize)),
        Transposed(matrix) => (matrix, (k as isize, 1)),
    };
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
            false,
            left.as_ptr(),
            1,
            k as isize,
            right.as_ptr(),
            right_column,
            right_row,
            0.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

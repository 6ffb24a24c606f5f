//! Row-wise operations, in parallel over rows.

use burn::tensor::DType;
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{HostTensor, Value};
use crate::ops::fused::simd;

/// Values that one task works on.
pub(in crate::ops::fused) const TASK_VALUES: usize = 16 * 1024;

/// Picks the kernel for the type that memory holds.
macro_rules! by_type {
    ($tensor:expr, $kernel:ident($($argument:expr),*)) => {
        match $tensor.dtype() {
            DType::BF16 => $kernel::<_, bf16>($($argument),*),
            _ => $kernel::<_, f32>($($argument),*),
        }
    };
}
pub(super) use by_type;

/// Modulations of tokens, `[B, G, D]`: of two, the first is for tokens from `split` on, the second for those before.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    /// Modulations of a sample.
    pub(super) count: usize,
    /// Where tokens of one modulation end and those of another begin.
    pub(super) split: usize,
}

impl Groups {
    pub(super) fn of<H: HostTensor>(modulation: &H, split: usize) -> Self {
        let [_, count, _] = modulation.dims();
        Self { count, split: if count > 1 { split } else { 0 } }
    }

    /// The modulation of a token.
    #[inline(always)]
    pub(super) fn row(self, sample: usize, token: usize) -> usize {
        sample * self.count + usize::from(token < self.split)
    }
}

/// `[B, S, D]`: `layer_norm(input) * (1 + scale) + shift` with `scale` and `shift` `[B, G, D]`.
pub(in crate::ops::fused) fn modulate<H: HostTensor>(input: &H, scale: &H, shift: &H, split: usize, eps: f32) -> H {
    by_type!(input, modulate_typed(input, scale, shift, split, eps))
}

fn modulate_typed<H: HostTensor, T: Value>(input: &H, scale: &H, shift: &H, split: usize, eps: f32) -> H {
    let (dims @ [_, seq, width], groups) = (input.dims(), Groups::of(scale, split));
    let (input, scale, shift) = (input.contiguous(), scale.to_f32(), shift.to_f32());
    let values = input.values::<T>();
    input.filled(&dims, |output| {
        for_each_row::<T, 1>(
            output,
            width,
            #[inline(always)]
            |index, row, [scratch]| {
                let group = groups.row(index / seq, index % seq) * width;
                let (scale, shift) = (&scale[group..][..width], &shift[group..][..width]);
                let input = T::wide(&values[index * width..][..width], scratch);
                let (mean, inverse_std) = simd::moments(input, eps);
                for i in 0..width {
                    row[i] = (input[i] - mean) * inverse_std * (1.0 + scale[i]) + shift[i];
                }
            },
        );
    })
}

/// `[B, S, D]`: `residual + output * gate` with `gate` `[B, G, D]`.
pub(in crate::ops::fused) fn gated_add<H: HostTensor>(residual: &H, output: &H, gate: &H, split: usize) -> H {
    by_type!(residual, gated_add_typed(residual, output, gate, split))
}

fn gated_add_typed<H: HostTensor, T: Value>(residual: &H, output: &H, gate: &H, split: usize) -> H {
    let (dims @ [_, seq, width], groups) = (residual.dims(), Groups::of(gate, split));
    let (residual, output, gate) = (residual.contiguous(), output.contiguous(), gate.to_f32());
    let (of_residual, of_output) = (residual.values::<T>(), output.values::<T>());
    residual.filled(&dims, |sum| {
        for_each_row::<T, 2>(
            sum,
            width,
            #[inline(always)]
            |index, row, [a, b]| {
                let residual = T::wide(&of_residual[index * width..][..width], a);
                let output = T::wide(&of_output[index * width..][..width], b);
                let gate = &gate[groups.row(index / seq, index % seq) * width..][..width];
                for i in 0..width {
                    row[i] = residual[i] + output[i] * gate[i];
                }
            },
        );
    })
}

/// `[B, S, N, head_dim]` to `[B, N, S, head_dim]`: each head normalised, then its halves turned against each other by
/// the angles of its token, `[S, head_dim / 2]`.
pub(in crate::ops::fused) fn norm_rotate<H: HostTensor>(input: &H, cos: &H, sin: &H, eps: f32) -> H {
    by_type!(input, norm_rotate_typed(input, cos, sin, eps))
}

fn norm_rotate_typed<H: HostTensor, T: Value>(input: &H, cos: &H, sin: &H, eps: f32) -> H {
    let [batch, seq, heads, width] = input.dims();
    let half = width / 2;
    let (input, cos, sin) = (input.contiguous(), cos.to_f32(), sin.to_f32());
    let values = input.values::<T>();
    input.filled(&[batch, heads, seq, width], |output| {
        for_each_row::<T, 1>(
            output,
            width,
            #[inline(always)]
            |index, row, [scratch]| {
                let (sample, head, token) = (index / seq / heads, index / seq % heads, index % seq);
                let input = T::wide(&values[((sample * seq + token) * heads + head) * width..][..width], scratch);
                let (cos, sin) = (&cos[token * half..][..half], &sin[token * half..][..half]);
                let (mean, inverse_std) = simd::moments(input, eps);
                let (first, second) = input.split_at(half);
                let (out_first, out_second) = row.split_at_mut(half);
                for i in 0..half {
                    let (a, b) = ((first[i] - mean) * inverse_std, (second[i] - mean) * inverse_std);
                    out_first[i] = a * cos[i] - b * sin[i];
                    out_second[i] = b * cos[i] + a * sin[i];
                }
            },
        );
    })
}

/// Runs a kernel on every row of `width` values, with the number of the row and a scratch row for each input it widens.
pub(super) fn for_each_row<T: Value, const N: usize>(
    output: &mut [T],
    width: usize,
    kernel: impl Fn(usize, &mut [f32], &mut [Vec<f32>; N]) + Sync,
) {
    let rows = (TASK_VALUES / width).max(1);
    output.par_chunks_mut(rows * width).enumerate().for_each(|(task, output)| {
        Arch::new().dispatch(Rows { output, width, first: task * rows, kernel: &kernel });
    });
}

/// `pulp` compiles `with_simd`, and what is inlined into it, for the widest instructions of the machine.
struct Rows<'a, T, K, const N: usize> {
    output: &'a mut [T],
    width: usize,
    first: usize,
    kernel: &'a K,
}

impl<T, K, const N: usize> WithSimd for Rows<'_, T, K, N>
where
    T: Value,
    K: Fn(usize, &mut [f32], &mut [Vec<f32>; N]),
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { output, width, first, kernel } = self;
        let mut scratch = std::array::from_fn(|_| vec![0.0; width]);
        let mut written = vec![0.0; width];
        for (index, row) in output.chunks_exact_mut(width).enumerate() {
            T::write(
                row,
                &mut written,
                #[inline(always)]
                |row| kernel(first + index, row, &mut scratch),
            );
        }
    }
}

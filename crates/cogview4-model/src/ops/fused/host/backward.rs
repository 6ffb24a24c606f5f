//! Backwards of the operations in [`rows`](super::rows): norms are computed again rather than kept. Sums over tokens
//! are taken in parts of fixed size that are added in order, so that they repeat bit for bit.

use burn::tensor::DType;
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    HostTensor, Value,
    rows::{Groups, by_type, for_each_row},
};
use crate::ops::fused::simd;

/// Tokens that are summed together.
const TOKENS: usize = 32;

/// Gradients of input, scale and shift of `layer_norm(input) * (1 + scale) + shift`.
pub(in crate::ops::fused) fn modulate_backward<H: HostTensor>(
    input: &H,
    scale: &H,
    grad: &H,
    split: usize,
    eps: f32,
) -> (H, H, H) {
    by_type!(input, modulate_typed(input, scale, grad, split, eps))
}

fn modulate_typed<H: HostTensor, T: Value>(input: &H, scale: &H, grad: &H, split: usize, eps: f32) -> (H, H, H) {
    let (dims @ [_, _, width], of_scale) = (input.dims(), scale.dims());
    let groups = Groups::of(scale, split);
    let (input, scale, grad) = (input.contiguous(), scale.to_f32(), grad.contiguous());
    let (inputs, grads) = (input.values::<T>(), grad.values::<T>());
    let mut sums = Default::default();
    let of_input = input.filled::<T>(&dims, |of_input| {
        sums = sum_tokens::<T>(
            [inputs, grads],
            of_input,
            (dims, groups),
            #[inline(always)]
            |group, [input, grad], of_input, [of_scale, of_shift]| {
                let scale = &scale[group * width..][..width];
                let (mean, inverse_std) = simd::moments(input, eps);
                for i in 0..width {
                    of_scale[i] += grad[i] * (input[i] - mean) * inverse_std;
                    of_shift[i] += grad[i];
                    of_input[i] = grad[i] * (1.0 + scale[i]);
                }
                simd::norm_backward(input, of_input, mean, inverse_std);
            },
        );
    });
    let [of_scale, of_shift] = sums.map(|sums| narrowed::<H, T>(&input, of_scale, &sums));
    (of_input, of_scale, of_shift)
}

/// Gradients of output and gate of `residual + output * gate`.
pub(in crate::ops::fused) fn gated_add_backward<H: HostTensor>(output: &H, gate: &H, grad: &H, split: usize) -> (H, H) {
    by_type!(output, gated_add_typed(output, gate, grad, split))
}

fn gated_add_typed<H: HostTensor, T: Value>(output: &H, gate: &H, grad: &H, split: usize) -> (H, H) {
    let (dims @ [_, _, width], of_gate) = (output.dims(), gate.dims());
    let groups = Groups::of(gate, split);
    let (output, gate, grad) = (output.contiguous(), gate.to_f32(), grad.contiguous());
    let (outputs, grads) = (output.values::<T>(), grad.values::<T>());
    let mut sums = Default::default();
    let of_output = output.filled::<T>(&dims, |of_output| {
        sums = sum_tokens::<T>(
            [outputs, grads],
            of_output,
            (dims, groups),
            #[inline(always)]
            |group, [output, grad], of_output, [of_gate, _]| {
                let gate = &gate[group * width..][..width];
                for i in 0..width {
                    of_output[i] = grad[i] * gate[i];
                    of_gate[i] += grad[i] * output[i];
                }
            },
        );
    });
    (of_output, narrowed::<H, T>(&output, of_gate, &sums[0]))
}

/// Gradient `[B, S, N, head_dim]` of the input of a norm and a rotation, from one `[B, N, S, head_dim]`.
pub(in crate::ops::fused) fn norm_rotate_backward<H: HostTensor>(input: &H, cos: &H, sin: &H, grad: &H, eps: f32) -> H {
    by_type!(input, norm_rotate_typed(input, cos, sin, grad, eps))
}

fn norm_rotate_typed<H: HostTensor, T: Value>(input: &H, cos: &H, sin: &H, grad: &H, eps: f32) -> H {
    let dims @ [_, seq, heads, width] = input.dims();
    let half = width / 2;
    let (input, cos, sin, grad) = (input.contiguous(), cos.to_f32(), sin.to_f32(), grad.contiguous());
    let (inputs, grads) = (input.values::<T>(), grad.values::<T>());
    input.filled(&dims, |of_input| {
        for_each_row::<T, 2>(
            of_input,
            width,
            #[inline(always)]
            |index, row, [a, b]| {
                let (sample, token, head) = (index / heads / seq, index / heads % seq, index % heads);
                let grad = T::wide(&grads[((sample * heads + head) * seq + token) * width..][..width], a);
                let (cos, sin) = (&cos[token * half..][..half], &sin[token * half..][..half]);
                let (first, second) = grad.split_at(half);
                let (of_first, of_second) = row.split_at_mut(half);
                // The turn backwards.
                for i in 0..half {
                    of_first[i] = first[i] * cos[i] + second[i] * sin[i];
                    of_second[i] = second[i] * cos[i] - first[i] * sin[i];
                }
                let input = T::wide(&inputs[index * width..][..width], b);
                let (mean, inverse_std) = simd::moments(input, eps);
                simd::norm_backward(input, row, mean, inverse_std);
            },
        );
    })
}

/// A small tensor from values in f32.
fn narrowed<H: HostTensor, T: Value>(like: &H, dims: [usize; 3], values: &[f32]) -> H {
    like.filled::<T>(&dims, |output| {
        T::write(output, &mut vec![0.0; values.len()], |row| row.copy_from_slice(values));
    })
}

/// Runs a kernel on every token, with the number of its modulation and its rows of two inputs; it fills the row of
/// `output` and adds to two sums over the tokens of the modulation, `[B, G, width]` each.
fn sum_tokens<T: Value>(
    inputs: [&[T]; 2],
    output: &mut [T],
    ([batch, seq, width], groups): ([usize; 3], Groups),
    kernel: impl Fn(usize, [&[f32]; 2], &mut [f32], [&mut [f32]; 2]) + Sync,
) -> [Vec<f32>; 2] {
    let kernel = &kernel;
    let parts: Vec<(usize, [Vec<f32>; 2])> = output
        .par_chunks_mut(seq * width)
        .enumerate()
        .flat_map(|(sample, output)| {
            // Tokens that are summed together have one modulation.
            let (before, behind) = output.split_at_mut(groups.split * width);
            [(0, before), (groups.split, behind)].into_par_iter().flat_map(move |(token, output)| {
                let parts = output.par_chunks_mut(TOKENS * width).enumerate();
                parts.map(move |(part, output)| {
                    (groups.row(sample, token), sample * seq + token + part * TOKENS, output)
                })
            })
        })
        .map(|(group, first, output)| {
            let inputs = inputs.map(|input| &input[first * width..][..output.len()]);
            (group, Arch::new().dispatch(Tokens { group, inputs, output, width, kernel }))
        })
        .collect();
    let mut totals = [0; 2].map(|_| vec![0.0; batch * groups.count * width]);
    for (group, sums) in &parts {
        for (total, sum) in totals.iter_mut().zip(sums) {
            let total = &mut total[group * width..][..width];
            total.iter_mut().zip(sum).for_each(|(total, value)| *total += value);
        }
    }
    totals
}

/// Tokens of a modulation that are summed together.
struct Tokens<'a, T, K> {
    group: usize,
    inputs: [&'a [T]; 2],
    output: &'a mut [T],
    width: usize,
    kernel: &'a K,
}

impl<T, K> WithSimd for Tokens<'_, T, K>
where
    T: Value,
    K: Fn(usize, [&[f32]; 2], &mut [f32], [&mut [f32]; 2]),
{
    type Output = [Vec<f32>; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Self::Output {
        let Self { group, inputs: [a, b], output, width, kernel } = self;
        let [mut wide_a, mut wide_b, mut written] = std::array::from_fn(|_| vec![0.0; width]);
        let mut sums = [vec![0.0; width], vec![0.0; width]];
        for (token, output) in output.chunks_exact_mut(width).enumerate() {
            let row = token * width..(token + 1) * width;
            let inputs = [T::wide(&a[row.clone()], &mut wide_a), T::wide(&b[row], &mut wide_b)];
            let sums = sums.each_mut().map(Vec::as_mut_slice);
            T::write(
                output,
                &mut written,
                #[inline(always)]
                |row| kernel(group, inputs, row, sums),
            );
        }
        sums
    }
}

//! Backwards of the operations in [`rows`](super::rows): norms are computed again rather than kept. Sums over tokens are
//! taken in parts of fixed size that are added in order, so that they repeat bit for bit.

use burn::backend::flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::rows::{TASK_VALUES, contiguous, dims, for_each_row, tensor, values};
use crate::ops::fused::simd;

/// Tokens that are summed together.
const TOKENS: usize = 32;

/// `grad * slope(input)`, in place where nobody else holds the gradient.
pub(super) fn multiply(input: &FlexTensor, grad: FlexTensor, slope: impl Fn(f32) -> f32 + Copy + Sync) -> FlexTensor {
    let input = contiguous(input);
    let input = values(&input);
    let mut output = grad.to_contiguous();
    drop(grad);
    output.storage_mut().par_chunks_mut(TASK_VALUES).zip(input.par_chunks(TASK_VALUES)).for_each(|(grad, input)| {
        Arch::new().dispatch(Multiply { grad, input, slope });
    });
    output
}

struct Multiply<'a, F> {
    grad: &'a mut [f32],
    input: &'a [f32],
    slope: F,
}

impl<F: Fn(f32) -> f32> WithSimd for Multiply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for (grad, &input) in self.grad.iter_mut().zip(self.input) {
            *grad *= (self.slope)(input);
        }
    }
}

/// Gradients of input, scale and shift of `layer_norm(input) * (1 + scale) + shift`.
pub(super) fn modulate(
    input: &FlexTensor,
    scale: &FlexTensor,
    grad: &FlexTensor,
    eps: f32,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let [batch, seq, width] = dims(input);
    let (input, scale, grad) = (contiguous(input), contiguous(scale), contiguous(grad));
    let (input, scale, grad) = (values(&input), values(&scale), values(&grad));
    let mut of_input = vec![0.0; input.len()];
    let sums = sum_tokens(&mut of_input, [batch, seq, width], |token, of_input, [of_scale, of_shift]| {
        let of_sample = token / seq * width..(token / seq + 1) * width;
        let of_token = token * width..(token + 1) * width;
        Arch::new().dispatch(ModulateToken {
            input: &input[of_token.clone()],
            scale: &scale[of_sample],
            grad: &grad[of_token],
            of_input,
            of_scale,
            of_shift,
            eps,
        });
    });
    let [of_scale, of_shift] = sums.map(|sums| tensor(sums, [batch, 1, width]));
    (tensor(of_input, [batch, seq, width]), of_scale, of_shift)
}

struct ModulateToken<'a> {
    input: &'a [f32],
    scale: &'a [f32],
    grad: &'a [f32],
    of_input: &'a mut [f32],
    of_scale: &'a mut [f32],
    of_shift: &'a mut [f32],
    eps: f32,
}

impl WithSimd for ModulateToken<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { input, scale, grad, of_input, of_scale, of_shift, eps } = self;
        let (mean, inverse_std) = simd::moments(input, eps);
        for i in 0..input.len() {
            of_scale[i] += grad[i] * (input[i] - mean) * inverse_std;
            of_shift[i] += grad[i];
            of_input[i] = grad[i] * (1.0 + scale[i]);
        }
        simd::norm_backward(input, of_input, mean, inverse_std);
    }
}

/// Gradients of output and gate of `residual + output * gate`.
pub(super) fn gated_add(output: &FlexTensor, gate: &FlexTensor, grad: &FlexTensor) -> (FlexTensor, FlexTensor) {
    let [batch, seq, width] = dims(output);
    let (output, gate, grad) = (contiguous(output), contiguous(gate), contiguous(grad));
    let (output, gate, grad) = (values(&output), values(&gate), values(&grad));
    let mut of_output = vec![0.0; output.len()];
    let sums = sum_tokens(&mut of_output, [batch, seq, width], |token, of_output, [of_gate, _]| {
        let gate = &gate[token / seq * width..][..width];
        let (output, grad) = (&output[token * width..][..width], &grad[token * width..][..width]);
        Arch::new().dispatch(GatedAddToken { output, gate, grad, of_output, of_gate });
    });
    let [of_gate, _] = sums;
    (tensor(of_output, [batch, seq, width]), tensor(of_gate, [batch, 1, width]))
}

struct GatedAddToken<'a> {
    output: &'a [f32],
    gate: &'a [f32],
    grad: &'a [f32],
    of_output: &'a mut [f32],
    of_gate: &'a mut [f32],
}

impl WithSimd for GatedAddToken<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { output, gate, grad, of_output, of_gate } = self;
        for i in 0..output.len() {
            of_output[i] = grad[i] * gate[i];
            of_gate[i] += grad[i] * output[i];
        }
    }
}

/// Gradient `[B, S, N, head_dim]` of the input of a norm and a rotation, from one `[B, N, S, head_dim]`.
pub(super) fn norm_rotate(
    input: &FlexTensor,
    cos: &FlexTensor,
    sin: &FlexTensor,
    grad: &FlexTensor,
    eps: f32,
) -> FlexTensor {
    let [batch, seq, heads, width] = dims(input);
    let half = width / 2;
    let (input, cos, sin, grad) = (contiguous(input), contiguous(cos), contiguous(sin), contiguous(grad));
    let (input, cos, sin, grad) = (values(&input), values(&cos), values(&sin), values(&grad));
    let mut of_input = vec![0.0; input.len()];
    for_each_row(
        &mut of_input,
        width,
        #[inline(always)]
        |index, row| {
            let (sample, token, head) = (index / heads / seq, index / heads % seq, index % heads);
            let grad = &grad[((sample * heads + head) * seq + token) * width..][..width];
            let (cos, sin) = (&cos[token * half..][..half], &sin[token * half..][..half]);
            let (first, second) = grad.split_at(half);
            let (of_first, of_second) = row.split_at_mut(half);
            // The turn backwards.
            for i in 0..half {
                of_first[i] = first[i] * cos[i] + second[i] * sin[i];
                of_second[i] = second[i] * cos[i] - first[i] * sin[i];
            }
            let input = &input[index * width..][..width];
            let (mean, inverse_std) = simd::moments(input, eps);
            simd::norm_backward(input, row, mean, inverse_std);
        },
    );
    tensor(of_input, [batch, seq, heads, width])
}

/// Runs a kernel on every token, which fills its row of `output` and adds to two sums over the tokens of its sample,
/// `[B, width]` each.
fn sum_tokens(
    output: &mut [f32],
    [batch, seq, width]: [usize; 3],
    kernel: impl Fn(usize, &mut [f32], [&mut [f32]; 2]) + Sync,
) -> [Vec<f32>; 2] {
    let parts_per_sample = seq.div_ceil(TOKENS);
    let parts: Vec<[Vec<f32>; 2]> = output
        .par_chunks_mut(seq * width)
        .enumerate()
        .flat_map(|(sample, output)| {
            let parts = output.par_chunks_mut(TOKENS * width).enumerate();
            parts.map(move |(part, output)| (sample * seq + part * TOKENS, output))
        })
        .map(|(first, output)| {
            let mut sums = [vec![0.0; width], vec![0.0; width]];
            for (token, output) in output.chunks_exact_mut(width).enumerate() {
                let [a, b] = &mut sums;
                kernel(first + token, output, [a, b]);
            }
            sums
        })
        .collect();
    let mut totals = [vec![0.0; batch * width], vec![0.0; batch * width]];
    for (part, sums) in parts.iter().enumerate() {
        let sample = part / parts_per_sample;
        for (total, sum) in totals.iter_mut().zip(sums) {
            let total = &mut total[sample * width..(sample + 1) * width];
            total.iter_mut().zip(sum).for_each(|(total, value)| *total += value);
        }
    }
    totals
}

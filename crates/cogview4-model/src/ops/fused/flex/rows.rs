//! Elementwise and row-wise operations in one pass, in parallel over rows.

use burn::{
    backend::flex::FlexTensor,
    tensor::{Bytes, DType, Shape},
};
use burn_flex::Layout;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::ops::fused::simd;

/// Values that one task works on.
pub(super) const TASK_VALUES: usize = 16 * 1024;

/// Applies a function to every value, in place where nobody else holds the tensor.
pub(super) fn map(input: FlexTensor, function: impl Fn(f32) -> f32 + Copy + Sync) -> FlexTensor {
    let mut output = input.to_contiguous();
    drop(input);
    output.storage_mut().par_chunks_mut(TASK_VALUES).for_each(|values| {
        let width = values.len();
        let kernel = |_, values: &mut [f32]| values.iter_mut().for_each(|value| *value = function(*value));
        Arch::new().dispatch(Rows { output: values, width, first: 0, kernel: &kernel });
    });
    output
}

/// `[B, S, D]`: `layer_norm(input) * (1 + scale) + shift` with `scale` and `shift` `[B, 1, D]`.
pub(super) fn modulate(input: &FlexTensor, scale: &FlexTensor, shift: &FlexTensor, eps: f32) -> FlexTensor {
    let [_, seq, width] = dims(input);
    let (input, scale, shift) = (contiguous(input), contiguous(scale), contiguous(shift));
    let (input, scale, shift) = (values(&input), values(&scale), values(&shift));
    let mut output = vec![0.0; input.len()];
    for_each_row(
        &mut output,
        width,
        #[inline(always)]
        |index, row| {
            let of_sample = index / seq * width..(index / seq + 1) * width;
            let (scale, shift) = (&scale[of_sample.clone()], &shift[of_sample]);
            let input = &input[index * width..][..width];
            let (mean, inverse_std) = simd::moments(input, eps);
            for i in 0..width {
                row[i] = (input[i] - mean) * inverse_std * (1.0 + scale[i]) + shift[i];
            }
        },
    );
    tensor(output, [scale.len() / width, seq, width])
}

/// `[B, S, D]`: `residual + output * gate` with `gate` `[B, 1, D]`.
pub(super) fn gated_add(residual: &FlexTensor, output: &FlexTensor, gate: &FlexTensor) -> FlexTensor {
    let [batch, seq, width] = dims(residual);
    let (residual, output, gate) = (contiguous(residual), contiguous(output), contiguous(gate));
    let (residual, output, gate) = (values(&residual), values(&output), values(&gate));
    let mut sum = vec![0.0; residual.len()];
    for_each_row(
        &mut sum,
        width,
        #[inline(always)]
        |index, row| {
            let (residual, output) = (&residual[index * width..][..width], &output[index * width..][..width]);
            let gate = &gate[index / seq * width..][..width];
            for i in 0..width {
                row[i] = residual[i] + output[i] * gate[i];
            }
        },
    );
    tensor(sum, [batch, seq, width])
}

/// `[B, S, N, head_dim]` to `[B, N, S, head_dim]`: each head normalised, then its halves turned against each other by the
/// angles of its token, `[S, head_dim / 2]`.
pub(super) fn norm_rotate(input: &FlexTensor, cos: &FlexTensor, sin: &FlexTensor, eps: f32) -> FlexTensor {
    let [batch, seq, heads, width] = dims(input);
    let half = width / 2;
    let (input, cos, sin) = (contiguous(input), contiguous(cos), contiguous(sin));
    let (input, cos, sin) = (values(&input), values(&cos), values(&sin));
    let mut output = vec![0.0; input.len()];
    for_each_row(
        &mut output,
        width,
        #[inline(always)]
        |index, row| {
            let (sample, head, token) = (index / seq / heads, index / seq % heads, index % seq);
            let input = &input[((sample * seq + token) * heads + head) * width..][..width];
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
    tensor(output, [batch, heads, seq, width])
}

/// Runs a kernel on every row of `width` values, with the number of the row.
pub(super) fn for_each_row(output: &mut [f32], width: usize, kernel: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = (TASK_VALUES / width).max(1);
    output.par_chunks_mut(rows * width).enumerate().for_each(|(task, output)| {
        Arch::new().dispatch(Rows { output, width, first: task * rows, kernel: &kernel });
    });
}

/// `pulp` compiles `with_simd`, and what is inlined into it, for the widest instructions of the machine.
struct Rows<'a, K> {
    output: &'a mut [f32],
    width: usize,
    first: usize,
    kernel: &'a K,
}

impl<K: Fn(usize, &mut [f32])> WithSimd for Rows<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for (index, row) in self.output.chunks_exact_mut(self.width).enumerate() {
            (self.kernel)(self.first + index, row);
        }
    }
}

pub(super) fn dims<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor.layout().shape().as_slice().try_into().expect("invariant: the operation fixes the number of axes")
}

/// Copies only where the values do not lie in order.
pub(super) fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor.clone() } else { tensor.to_contiguous() }
}

pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("invariant: contiguous f32")
}

pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32)
}

//! The same of a backend's own operations, computed in f32 at least and rounded once. Backwards compute the norm again:
//! CubeCL fuses what lies between two sums into one kernel, so little is kept and little is read.

use std::ops::Range;

use burn::{
    backend::{Backend, TensorMetadata, tensor::FloatTensor},
    tensor::{DType, Slice},
};

use crate::ops::fused::precision::{cast, wide};

/// What a backward of a norm reads: the inputs, of which the first is normalised, and the epsilon.
#[derive(Debug, Clone)]
pub(in crate::ops::fused) struct Inputs<T> {
    pub inputs: [T; 3],
    /// See [`modulate`](crate::ops::modulate).
    pub split: usize,
    pub eps: f64,
}

/// The last axis normalised, and the factor that did it.
struct Normed<B: Backend> {
    normed: FloatTensor<B>,
    inverse_std: FloatTensor<B>,
    axis: usize,
}

impl<B: Backend> Normed<B> {
    /// Of an input in the wide type.
    fn new(input: FloatTensor<B>, eps: f64) -> Self {
        let axis = input.shape().num_dims() - 1;
        let centered = B::float_sub(input.clone(), B::float_mean_dim(input, axis));
        let variance = B::float_mean_dim(B::float_mul(centered.clone(), centered.clone()), axis);
        let inverse_std = B::float_recip(B::float_sqrt(B::float_add_scalar(variance, eps.into())));
        Self { normed: B::float_mul(centered, inverse_std.clone()), inverse_std, axis }
    }

    /// From the gradient of what is normalised to that of the input.
    fn gradient(self, grad: FloatTensor<B>) -> FloatTensor<B> {
        let Self { normed, inverse_std, axis } = self;
        let along = B::float_mean_dim(B::float_mul(grad.clone(), normed.clone()), axis);
        let rest = B::float_sub(grad.clone(), B::float_mean_dim(grad, axis));
        B::float_mul(B::float_sub(rest, B::float_mul(normed, along)), inverse_std)
    }
}

fn widened<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let dtype: DType = tensor.dtype();
    cast::<B>(tensor, wide(dtype))
}

/// `1 + scale`, in the wide type.
fn factor<B: Backend>(scale: FloatTensor<B>) -> FloatTensor<B> {
    B::float_add_scalar(widened::<B>(scale), 1.0.into())
}

/// Some tokens of `[B, S, D]`.
fn tokens<B: Backend>(tensor: FloatTensor<B>, range: Range<usize>) -> FloatTensor<B> {
    B::float_slice(tensor, &[Slice::full(), Slice::from(range), Slice::full()])
}

/// Modulations `[B, G, D]` for each of `seq` tokens, where they are not the same for all.
fn for_tokens<B: Backend>(modulations: FloatTensor<B>, split: usize, seq: usize) -> FloatTensor<B> {
    let [batch, groups, width] = modulations.shape().dims();
    if groups == 1 {
        return modulations;
    }
    let of_tokens = |group: usize, count: usize| {
        B::float_expand(tokens::<B>(modulations.clone(), group..group + 1), [batch, count, width].into())
    };
    B::float_cat(vec![of_tokens(1, split), of_tokens(0, seq - split)], 1)
}

/// Sums over the tokens of each modulation.
fn sums<B: Backend>(grad: FloatTensor<B>, groups: usize, split: usize) -> FloatTensor<B> {
    if groups == 1 {
        return B::float_sum_dim(grad, 1);
    }
    let seq = grad.shape()[1];
    let sum = |range| B::float_sum_dim(tokens::<B>(grad.clone(), range), 1);
    B::float_cat(vec![sum(split..seq), sum(0..split)], 1)
}

pub(super) fn modulate<B: Backend>(
    [input, scale, shift]: [FloatTensor<B>; 3],
    split: usize,
    eps: f64,
) -> FloatTensor<B> {
    let (dtype, seq): (DType, _) = (input.dtype(), input.shape()[1]);
    let Normed { normed, .. } = Normed::<B>::new(widened::<B>(input), eps);
    let [factor, shift] =
        [factor::<B>(scale), widened::<B>(shift)].map(|modulations| for_tokens::<B>(modulations, split, seq));
    cast::<B>(B::float_add(B::float_mul(normed, factor), shift), dtype)
}

/// Gradients of input, scale and shift.
pub(super) fn modulate_gradients<B: Backend>(
    Inputs { inputs: [input, scale, _], split, eps }: Inputs<FloatTensor<B>>,
    grad: FloatTensor<B>,
) -> [FloatTensor<B>; 3] {
    let (dtype, grad): (DType, _) = (input.dtype(), widened::<B>(grad));
    let (seq, groups) = (input.shape()[1], scale.shape()[1]);
    let norm = Normed::<B>::new(widened::<B>(input), eps);
    let of_shift = sums::<B>(grad.clone(), groups, split);
    let of_scale = sums::<B>(B::float_mul(grad.clone(), norm.normed.clone()), groups, split);
    let of_input = norm.gradient(B::float_mul(grad, for_tokens::<B>(factor::<B>(scale), split, seq)));
    [of_input, of_scale, of_shift].map(|gradient| cast::<B>(gradient, dtype))
}

pub(super) fn gated_add<B: Backend>([residual, output, gate]: [FloatTensor<B>; 3], split: usize) -> FloatTensor<B> {
    let (dtype, seq): (DType, _) = (residual.dtype(), residual.shape()[1]);
    let [residual, output, gate] = [residual, output, for_tokens::<B>(gate, split, seq)].map(widened::<B>);
    cast::<B>(B::float_add(residual, B::float_mul(output, gate)), dtype)
}

/// Gradients of output and gate.
pub(super) fn gated_add_gradients<B: Backend>(
    [output, gate]: [FloatTensor<B>; 2],
    split: usize,
    grad: FloatTensor<B>,
) -> [FloatTensor<B>; 2] {
    let (dtype, seq, groups): (DType, _, _) = (output.dtype(), output.shape()[1], gate.shape()[1]);
    let [output, gate, grad] = [output, for_tokens::<B>(gate, split, seq), grad].map(widened::<B>);
    let of_gate = sums::<B>(B::float_mul(grad.clone(), output), groups, split);
    [B::float_mul(grad, gate), of_gate].map(|gradient| cast::<B>(gradient, dtype))
}

pub(super) fn norm_rotate<B: Backend>([input, cos, sin]: [FloatTensor<B>; 3], eps: f64) -> FloatTensor<B> {
    let dtype: DType = input.dtype();
    let Normed { normed, .. } = Normed::<B>::new(widened::<B>(input), eps);
    let turned = rotate::<B>(B::float_swap_dims(normed, 1, 2), [cos, sin].map(widened::<B>));
    cast::<B>(turned, dtype)
}

/// The gradient of the input.
pub(super) fn norm_rotate_gradient<B: Backend>(
    Inputs { inputs: [input, cos, sin], eps, .. }: Inputs<FloatTensor<B>>,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let dtype: DType = input.dtype();
    // Back by the same angles.
    let back = [widened::<B>(cos), B::float_neg(widened::<B>(sin))];
    let of_normed = B::float_swap_dims(rotate::<B>(widened::<B>(grad), back), 1, 2);
    cast::<B>(Normed::<B>::new(widened::<B>(input), eps).gradient(of_normed), dtype)
}

/// Turns the first half of each head against the second; `[B, N, S, head_dim]`, cosines and sines `[S, head_dim / 2]`.
fn rotate<B: Backend>(input: FloatTensor<B>, angles: [FloatTensor<B>; 2]) -> FloatTensor<B> {
    let shape = input.shape();
    let (seq, half, all) = (shape[2], shape[3] / 2, Slice::full());
    let [cos, sin] = angles.map(|table| B::float_reshape(table, [1, 1, seq, half].into()));
    let halves =
        [0, half].map(|start| B::float_slice(input.clone(), &[all, all, all, Slice::from(start..start + half)]));
    let [first, second] = halves;
    let times = |a: &FloatTensor<B>, b: &FloatTensor<B>| B::float_mul(a.clone(), b.clone());
    let turned = [
        B::float_sub(times(&first, &cos), times(&second, &sin)),
        B::float_add(times(&second, &cos), times(&first, &sin)),
    ];
    B::float_cat(turned.into(), 3)
}

/// `1 / (1 + exp(-x))`.
fn sigmoid<B: Backend>(input: FloatTensor<B>) -> FloatTensor<B> {
    B::float_recip(B::float_add_scalar(B::float_exp(B::float_neg(input)), 1.0.into()))
}

pub(super) fn silu<B: Backend>(input: FloatTensor<B>) -> FloatTensor<B> {
    let dtype: DType = input.dtype();
    let input = widened::<B>(input);
    cast::<B>(B::float_mul(input.clone(), sigmoid::<B>(input)), dtype)
}

/// `grad * s (1 + x (1 - s))`, where `s` is the sigmoid.
pub(super) fn silu_gradient<B: Backend>(input: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let dtype: DType = input.dtype();
    let [input, grad] = [input, grad].map(widened::<B>);
    let sigmoid = sigmoid::<B>(input.clone());
    let closing = B::float_add_scalar(B::float_neg(sigmoid.clone()), 1.0.into());
    let slope = B::float_mul(B::float_add_scalar(B::float_mul(input, closing), 1.0.into()), sigmoid);
    cast::<B>(B::float_mul(grad, slope), dtype)
}

/// Against the kernels of the pure-Rust CPU.
#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::{
        backend::{Flex, flex::FlexTensor, ops::FloatTensorOps},
        tensor::TensorData,
    };

    use super::*;
    use crate::{
        TorchGenerator,
        ops::fused::{
            host::HostTensor,
            rows::{RecordedRowOps, RowOps},
        },
    };

    const EPS: f64 = 1e-5;

    fn normal<const D: usize>(seed: u64, shape: [usize; D]) -> FlexTensor {
        let values = TorchGenerator::new(seed).randn(shape.iter().product());
        Flex::float_from_data(TensorData::new(values, shape), &Default::default())
    }

    fn values(tensor: FlexTensor) -> Vec<f32> {
        HostTensor::contiguous(&tensor).values::<f32>().to_vec()
    }

    #[track_caller]
    fn assert_close<const N: usize>(found: [FlexTensor; N], expected: [FlexTensor; N]) {
        for (found, expected) in found.into_iter().zip(expected) {
            let (found, expected) = (values(found), values(expected));
            let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let error = found.iter().zip(&expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(found.len() == expected.len() && error <= 5e-6 * largest, "{error:e} of {largest:e}");
        }
    }

    #[test]
    fn modulations() {
        for (groups, split) in [(1, 0), (2, 7)] {
            let modulation = |seed| normal(seed, [2, groups, 40]);
            let (inputs, grad) = ([normal(1, [2, 49, 40]), modulation(2), modulation(3)], normal(4, [2, 49, 40]));
            let (expected, norm) = Flex::recorded_modulate(inputs.clone(), split, EPS);
            assert_close([modulate::<Flex>(inputs.clone(), split, EPS)], [expected]);
            let found = modulate_gradients::<Flex>(Inputs { inputs: inputs.clone(), split, eps: EPS }, grad.clone());
            assert_close(found, Flex::modulate_gradients(norm, grad.clone()));

            let [output, gate, _] = inputs;
            let expected = Flex::fused_gated_add(grad.clone(), output.clone(), gate.clone(), split);
            assert_close([gated_add::<Flex>([grad.clone(), output.clone(), gate.clone()], split)], [expected]);
            let expected = Flex::gated_add_gradients([output.clone(), gate.clone()], split, grad.clone());
            assert_close(gated_add_gradients::<Flex>([output, gate], split, grad), expected);
        }
    }

    #[test]
    fn norms_with_rotation_and_silu() {
        let (inputs, grad) =
            ([normal(1, [2, 7, 3, 16]), normal(2, [7, 8]), normal(3, [7, 8])], normal(4, [2, 3, 7, 16]));
        let (expected, norm) = Flex::recorded_norm_rotate(inputs.clone(), EPS);
        assert_close([norm_rotate::<Flex>(inputs.clone(), EPS)], [expected]);
        let found = norm_rotate_gradient::<Flex>(Inputs { inputs, split: 0, eps: EPS }, grad.clone());
        assert_close([found], [Flex::norm_rotate_gradient(norm, grad)]);

        let (input, grad) = (normal(5, [300]), normal(6, [300]));
        assert_close([silu::<Flex>(input.clone())], [Flex::fused_silu(input.clone())]);
        let expected = Flex::silu_gradient(input.clone(), grad.clone());
        assert_close([silu_gradient::<Flex>(input, grad)], [expected]);
    }
}

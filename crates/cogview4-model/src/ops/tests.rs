//! Fused kernels against the composed operations: f64 tensors take the composed path, f32 tensors the kernels.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::*;
use crate::TorchGenerator;

const EPS: f64 = 1e-5;

/// The same normal numbers in f64 and in f32.
fn pair<const D: usize>(seed: u64, shape: [usize; D]) -> [Tensor<D>; 2] {
    let values = TorchGenerator::new(seed).randn(shape.iter().product());
    [DType::F64, DType::F32]
        .map(|dtype| Tensor::from_data(TensorData::new(values.clone(), shape), (&Device::flex(), dtype)))
}

#[track_caller]
fn assert_equal<const D: usize>([composed, fused]: [Tensor<D>; 2]) {
    let largest = |tensor: Tensor<D>| -> f64 { tensor.abs().max().into_scalar() };
    let error = largest(composed.clone() - fused.cast(DType::F64));
    assert!(error <= 2e-6 * largest(composed.clone()), "{error:e} in {:?}", composed.dims());
}

#[test]
fn attention_of_every_shape_and_mask() {
    // More rows than a block, fewer, and sizes that no vector width divides; shared key heads; one head; a batch.
    for (batch, heads, kv_heads, seq, head_dim) in
        [(1, 3, 3, 300, 16), (2, 4, 2, 129, 7), (1, 1, 1, 1, 8), (2, 2, 1, 33, 40)]
    {
        for causal in [false, true] {
            let mask = if causal { AttentionMask::Causal } else { AttentionMask::None };
            let [q, k, v] = [(1, heads), (2, kv_heads), (3, kv_heads)]
                .map(|(seed, heads)| pair(seed, [batch, heads, seq, head_dim]));
            let run = |i: usize| attention(q[i].clone() * 3.0, k[i].clone(), v[i].clone(), &mask);
            assert_equal([run(0), run(1)]);
        }
    }
}

#[test]
fn attention_takes_views() {
    let run = |joint: Tensor<4>| {
        let heads = joint.swap_dims(1, 2); // [B, N, S, head_dim], strided
        let part = |index: usize| heads.clone().narrow(3, index * 8, 8);
        attention(part(0), part(1), part(2), &AttentionMask::None)
    };
    assert_equal(pair(4, [2, 20, 3, 24]).map(run));
}

#[test]
fn modulations() {
    for (batch, seq, width) in [(1, 5, 96), (3, 40, 17), (2, 1000, 33)] {
        let [input, output] = [5, 6].map(|seed| pair(seed, [batch, seq + 2, width]));
        let [scale, shift] = [7, 8].map(|seed| pair(seed, [batch, 1, 2 * width]));
        // Views, as in the blocks: part of the sequence, part of the modulations.
        let tokens = |tensor: &Tensor<3>| tensor.clone().narrow(1, 1, seq);
        let part = |tensor: &Tensor<3>| tensor.clone().narrow(2, width, width);
        let modulated = |i: usize| modulate(tokens(&input[i]) * 4.0 + 9.0, part(&scale[i]), part(&shift[i]), EPS);
        assert_equal([modulated(0), modulated(1)]);
        let added = |i: usize| gated_add(tokens(&input[i]), tokens(&output[i]), part(&scale[i]));
        assert_equal([added(0), added(1)]);
    }
}

#[test]
fn norm_and_rotation() {
    let angles: Vec<f32> = (0..50 * 4).map(|i| i as f32 * 0.37).collect();
    let input = pair(9, [2, 50, 3, 8]);
    let run = |i: usize, dtype| {
        let table = RotaryTable::from_angles(&angles, 4, dtype, &Device::flex());
        norm_rotate(input[i].clone(), &table, EPS)
    };
    assert_equal([run(0, DType::F64), run(1, DType::F32)]);
}

#[test]
fn activations() {
    for activation in [gelu_tanh::<2>, silu::<2>] {
        // Also where the tensor is shared, so that the kernel may not work in place.
        let [composed, fused] = pair(10, [129, 257]).map(|tensor| tensor * 5.0);
        let kept = fused.clone();
        assert_equal([activation(composed.clone()), activation(fused)]);
        assert_equal([composed, kept]);
    }
}

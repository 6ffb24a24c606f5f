//! Fused kernels, forward and backward, against the composed operations: f64 tensors take the composed path, f32
//! tensors the kernels. The attention's composed path is itself held against the formula and against finite
//! differences.

use burn::tensor::{Bool, DType, Device, Tensor, TensorData, activation::softmax};

use super::*;
use crate::TorchGenerator;

const EPS: f64 = 1e-5;

/// The same normal numbers in f64 and in f32.
fn pair<const D: usize>(seed: u64, shape: [usize; D]) -> [Tensor<D>; 2] {
    let values = TorchGenerator::new(seed).randn(shape.iter().product());
    [DType::F64, DType::F32]
        .map(|dtype| Tensor::from_data(TensorData::new(values.clone(), shape), (&Device::flex(), dtype)))
}

/// `softmax(q k^T / sqrt(head_dim) + bias) v`, whole.
fn naive_attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, mask: &AttentionMask) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = query.dims();
    let repeat = |tensor: Tensor<4>| {
        let [_, own, ..] = tensor.dims();
        let tensor = tensor.reshape([batch, own, 1, seq, head_dim]).repeat_dim(2, heads / own);
        tensor.reshape([batch, heads, seq, head_dim])
    };
    let scores = query.matmul(repeat(key).transpose()) / (head_dim as f64).sqrt();
    let device = scores.device();
    let scores = match mask {
        AttentionMask::None => scores,
        AttentionMask::Causal => {
            scores.mask_fill(Tensor::<2, Bool>::tril_mask([seq, seq], 0, &device).unsqueeze(), f64::NEG_INFINITY)
        }
        AttentionMask::Keys(hidden) => {
            let hidden = hidden.clone().reshape([batch, 1, 1, seq]).expand([batch, heads, seq, seq]);
            scores.mask_fill(hidden, f64::NEG_INFINITY)
        }
    };
    softmax(scores, 3).matmul(repeat(value))
}

/// Hides the first tokens of each sample, more in the second than in the first.
fn keys_hidden(batch: usize, seq: usize) -> AttentionMask {
    let hidden = (0..batch * seq).map(|index| index % seq < (index / seq + 1) * seq / 4).collect::<Vec<_>>();
    AttentionMask::Keys(Tensor::from_data(TensorData::new(hidden, [batch, seq]), &Device::flex()))
}

/// Gradients of a weighted sum of the output, for each input.
fn gradients<const D: usize, const E: usize, const N: usize>(
    inputs: [Tensor<D>; N],
    forward: impl Fn([Tensor<D>; N]) -> Tensor<E>,
) -> [Tensor<D>; N] {
    let leaves = inputs.map(|input| Tensor::from_inner(input).require_grad());
    let output = forward(leaves.clone());
    let weights = TorchGenerator::new(77).randn(output.dims().iter().product());
    let weights = Tensor::<1>::from_data(weights.as_slice(), (&Device::flex(), output.dtype())).reshape(output.dims());
    let gradients = (output * Tensor::from_inner(weights)).sum().backward();
    leaves.map(|leaf| leaf.grad(&gradients).expect("every input has a gradient"))
}

#[track_caller]
fn assert_all_equal<const D: usize, const N: usize>(composed: [Tensor<D>; N], fused: [Tensor<D>; N]) {
    composed.into_iter().zip(fused).for_each(|(composed, fused)| assert_equal([composed, fused]));
}

#[track_caller]
fn assert_equal<const D: usize>([composed, fused]: [Tensor<D>; 2]) {
    let largest = |tensor: Tensor<D>| -> f64 { tensor.abs().max().into_scalar() };
    let error = largest(composed.clone() - fused.cast(DType::F64));
    // What should be 0 may be a rounding error away from it.
    assert!(error <= 2e-6 * largest(composed.clone()).max(0.5), "{error:e} in {:?}", composed.dims());
}

// More rows than a block, fewer, and sizes that no vector width divides; shared key heads; one head; a batch.
const ATTENTIONS: [(usize, usize, usize, usize, usize); 4] =
    [(1, 3, 3, 300, 16), (2, 4, 2, 129, 7), (1, 1, 1, 1, 8), (2, 2, 1, 33, 40)];

#[test]
fn attention_of_every_shape_and_mask() {
    for (batch, heads, kv_heads, seq, head_dim) in ATTENTIONS {
        for mask in [AttentionMask::None, AttentionMask::Causal, keys_hidden(batch, seq)] {
            let [q, k, v] = [(1, heads), (2, kv_heads), (3, kv_heads)]
                .map(|(seed, heads)| pair(seed, [batch, heads, seq, head_dim]));
            let run = |i: usize| attention(q[i].clone() * 3.0, k[i].clone(), v[i].clone(), &mask);
            let naive = naive_attention(q[0].clone() * 3.0, k[0].clone(), v[0].clone(), &mask);
            assert_equal([naive, run(0)]);
            assert_equal([run(0), run(1)]);
        }
    }
}

#[test]
fn attention_backward_of_every_shape_and_mask() {
    for (batch, heads, _, seq, head_dim) in ATTENTIONS {
        for mask in [AttentionMask::None, AttentionMask::Causal, keys_hidden(batch, seq)] {
            let mask_there = match &mask {
                AttentionMask::Keys(hidden) => AttentionMask::Keys(Tensor::from_inner(hidden.clone())),
                other => other.clone(),
            };
            let inputs = [1, 2, 3].map(|seed| pair(seed, [batch, heads, seq, head_dim]));
            let of = |i: usize| inputs.each_ref().map(|pair| pair[i].clone());
            let own = |[q, k, v]: [Tensor<4>; 3]| attention(q * 2.0, k, v, &mask_there);
            let naive = |[q, k, v]: [Tensor<4>; 3]| naive_attention(q * 2.0, k, v, &mask_there);
            assert_all_equal(gradients(of(0), naive), gradients(of(0), own));
            assert_all_equal(gradients(of(0), own), gradients(of(1), own));
        }
    }
}

#[test]
fn attention_backward_against_finite_differences() {
    let inputs = [1, 2, 3].map(|seed| pair(seed, [1, 2, 5, 4])[0].clone());
    let weights = pair(77, [1, 2, 5, 4])[0].clone();
    let value = |[q, k, v]: [Tensor<4>; 3]| -> f64 {
        (attention(q, k, v, &AttentionMask::None) * weights.clone()).sum().into_scalar()
    };
    let found = gradients(inputs.clone(), |[q, k, v]| attention(q, k, v, &AttentionMask::None));
    let step = 1e-5;
    for (which, found) in found.into_iter().enumerate() {
        let found: Vec<f64> = found.into_data().try_into_vec().unwrap();
        for (index, found) in found.into_iter().enumerate() {
            let moved = |by: f64| {
                let mut moved = inputs.clone();
                let mut values: Vec<f64> = moved[which].clone().into_data().try_into_vec().unwrap();
                values[index] += by;
                let data = TensorData::new(values, [1, 2, 5, 4]);
                moved[which] = Tensor::from_data(data, (&Device::flex(), DType::F64));
                value(moved)
            };
            let difference = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((difference - found).abs() < 1e-8, "input {which}, value {index}: {difference} {found}");
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
    for (batch, seq, width, split) in [(1, 5, 96, 0), (3, 40, 17, 39), (2, 1000, 33, 70), (2, 300, 33, 0)] {
        let [input, output] = [5, 6].map(|seed| pair(seed, [batch, seq + 2, width]));
        let [scale, shift] = [7, 8].map(|seed| pair(seed, [batch, 4, width]));
        // Views, as in the blocks: part of the sequence, part of the modulations.
        let tokens = |tensor: &Tensor<3>| tensor.clone().narrow(1, 1, seq);
        let part = |tensor: &Tensor<3>| tensor.clone().narrow(1, 1, if split > 0 { 2 } else { 1 });
        let modulated =
            |i: usize| modulate(tokens(&input[i]) * 4.0 + 9.0, part(&scale[i]), part(&shift[i]), split, EPS);
        assert_equal([modulated(0), modulated(1)]);
        let added = |i: usize| gated_add(tokens(&input[i]), tokens(&output[i]), part(&scale[i]), split);
        assert_equal([added(0), added(1)]);
        let both = |[input, scale, shift]: [Tensor<3>; 3]| {
            let modulated = modulate(tokens(&input) * 4.0 + 9.0, part(&scale), part(&shift), split, EPS);
            gated_add(tokens(&input), modulated, part(&shift), split)
        };
        let of = |i: usize| [&input, &scale, &shift].map(|pair| pair[i].clone());
        assert_all_equal(gradients(of(0), both), gradients(of(1), both));
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
    let of = |i: usize, dtype| {
        let RotaryTable { cos, sin } = RotaryTable::from_angles(&angles, 4, dtype, &Device::flex());
        let table = RotaryTable { cos: Tensor::from_inner(cos), sin: Tensor::from_inner(sin) };
        gradients([input[i].clone()], |[input]| norm_rotate(input, &table, EPS))
    };
    assert_all_equal(of(0, DType::F64), of(1, DType::F32));
}

#[test]
fn activations() {
    let naive_gelu = |[x]: [Tensor<2>; 1]| {
        let inner = (x.clone() + x.clone().powi_scalar(3) * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
        x * (inner.tanh() + 1.0) * 0.5
    };
    let [exact, _] = pair(10, [29, 57]);
    assert_equal([naive_gelu([exact.clone()]), gelu_tanh(exact.clone())]);
    assert_all_equal(gradients([exact.clone()], naive_gelu), gradients([exact], |[x]| gelu_tanh(x)));
    for activation in [gelu_tanh::<2>, silu::<2>] {
        // Also where the tensor is shared, so that the kernel may not work in place.
        let [composed, fused] = pair(10, [129, 257]).map(|tensor| tensor * 5.0);
        let kept = fused.clone();
        assert_equal([activation(composed.clone()), activation(fused)]);
        assert_equal([composed.clone(), kept.clone()]);
        let forward = |[input]: [Tensor<2>; 1]| activation(input);
        assert_all_equal(gradients([composed], forward), gradients([kept], forward));
    }
}

#[test]
fn linear_layers_in_bfloat16() {
    for [rows, depth, columns] in [[1, 40, 70], [75, 90, 110], [150, 333, 65]] {
        let rounded = |seed, shape: [usize; 2]| {
            let narrow = pair(seed, shape)[0].clone().cast(DType::BF16);
            [narrow.clone().cast(DType::F64), narrow]
        };
        let (input, weight, bias) =
            (rounded(11, [rows, depth]), rounded(12, [columns, depth]), rounded(13, [1, columns]));
        let of = |i: usize| [&input, &weight, &bias].map(|pair| pair[i].clone());
        let naive = |[input, weight, bias]: [Tensor<2>; 3]| input.matmul(weight.transpose()) + bias;
        let own = |[input, weight, bias]: [Tensor<2>; 3]| linear(input, weight, Some(bias.reshape([columns])));
        let mut pairs = vec![(naive(of(0)), own(of(1)))];
        pairs.extend(gradients(of(0), naive).into_iter().zip(gradients(of(1), own)));
        for (composed, fused) in pairs {
            // Half a unit in the last place of bfloat16; the weights of the sum are rounded too.
            let largest: f64 = composed.clone().abs().max().into_scalar();
            let error: f64 = (composed - fused.cast(DType::F64)).abs().max().into_scalar();
            assert!(error <= largest / 128.0, "{error} of {largest}");
        }
    }
}

#[test]
fn attention_in_bfloat16() {
    for (batch, heads, kv_heads, seq, head_dim) in ATTENTIONS {
        for mask in [AttentionMask::Causal, keys_hidden(batch, seq)] {
            let [q, k, v] = [(1, heads), (2, kv_heads), (3, kv_heads)].map(|(seed, heads)| {
                let narrow = pair(seed, [batch, heads, seq, head_dim])[0].clone().cast(DType::BF16);
                [narrow.clone().cast(DType::F64), narrow]
            });
            let run = |i: usize| attention(q[i].clone(), k[i].clone(), v[i].clone(), &mask);
            let error = (run(0) - run(1).cast(DType::F64)).abs() / (run(0).abs() + 1e-3);
            let largest: f64 = error.max().into_scalar();
            // Half a unit in the last place, of a sum in f32.
            assert!(largest <= 1.0 / 256.0, "{largest}");
        }
    }
}

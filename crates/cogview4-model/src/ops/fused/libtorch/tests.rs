//! What is called on libtorch's other devices, computed on its CPU: against our kernels there, and against finite
//! differences.

use tch::{Device, Kind, Tensor};

use super::{
    attention::{attention_on_cpu, gradients_on_cpu, library},
    graph::Graph,
    rows::{gated_add, gated_add_gradients, layer_norm, modulate, rotated, turned_back},
    *,
};
use crate::{TorchGenerator, ops::fused::attention::Saved};

const EPS: f64 = 1e-5;

fn normal(seed: u64, size: &[i64]) -> Tensor {
    let values = TorchGenerator::new(seed).randn(size.iter().product::<i64>() as usize);
    Tensor::from_slice(&values).view(size)
}

fn burned(tensor: &Tensor) -> TchTensor {
    TchTensor::new(tensor.shallow_clone())
}

/// Within a part of the largest, in f32; in bfloat16 within two roundings.
#[track_caller]
fn assert_within(tolerance: f64, what: &str, found: &Tensor, expected: &Tensor) {
    let tolerance = if expected.kind() == Kind::BFloat16 { 1.6e-2 } else { tolerance };
    let [found, expected] = [found, expected].map(|tensor| tensor.to_kind(Kind::Double));
    assert_eq!(found.size(), expected.size(), "{what}");
    let error = (found - &expected).abs().max().double_value(&[]);
    let largest = expected.abs().max().double_value(&[]);
    assert!(error <= tolerance * largest, "{what}: {error:e} of {largest:e}");
}

/// Sums are added in another order.
#[track_caller]
fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
    assert_within(3e-6, what, found, expected);
}

/// None, or keys that are hidden at the beginning of a sample.
fn biases(batch: i64, seq: i64) -> [Tensor; 2] {
    let hidden = Tensor::zeros([batch, 1, 1, seq], (Kind::Float, Device::Cpu));
    let _ = hidden.narrow(0, 0, 1).narrow(3, 0, seq / 3).fill_(f64::NEG_INFINITY);
    [Tensor::zeros([1, 1, 1, 1], (Kind::Float, Device::Cpu)), hidden]
}

#[test]
fn attention_is_that_of_the_cpu_forward_and_backward() {
    for (batch, heads, seq, head_dim) in [(1, 3, 300, 16), (2, 2, 33, 40), (1, 1, 800, 64)] {
        for bias in biases(batch, seq) {
            // The model hands values over with tokens before heads.
            let [query, key, value, grad] =
                [1, 2, 3, 4].map(|seed| normal(seed, &[batch, seq, heads, head_dim]).transpose(1, 2));
            let inputs = [&query, &key, &value].map(burned);
            let bias = burned(&bias);
            let (output, logsumexp) = attention_on_cpu(inputs.each_ref(), &bias, false);
            let [q, k, v] = inputs.clone();
            let (own, logsumexp) = (output.clone(), Some(logsumexp));
            let saved =
                Saved { query: q, key: k, value: v, bias: bias.clone(), is_causal: false, output: own, logsumexp };
            let (found, graph) = Graph::record(inputs, |inputs| library(inputs, &bias, false));
            assert_within(1e-6, "output", &found.tensor, &output.tensor);
            let expected = gradients_on_cpu(&saved, &burned(&grad));
            for (found, expected) in graph.gradients(&grad).iter().zip(&expected) {
                assert_within(1e-6, "gradient", &found.tensor, &expected.tensor);
            }
        }
    }
}

#[test]
fn gradients_of_attention_against_finite_differences() {
    let size = [1, 2, 5, 4];
    let wide = |seed| normal(seed, &size).to_kind(Kind::Double);
    let (inputs, grad) = ([wide(1), wide(2), wide(3)], wide(4));
    let none = burned(&biases(1, 5)[0].to_kind(Kind::Double));
    let value = |inputs: [&Tensor; 3]| (library(inputs, &none, false) * &grad).sum(Kind::Double).double_value(&[]);
    let (_, graph) = Graph::record(inputs.each_ref().map(burned), |inputs| library(inputs, &none, false));
    let step = 1e-5;
    for (which, gradient) in graph.gradients(&grad).iter().enumerate() {
        for index in 0..40 {
            let moved = [-step, step].map(|step| {
                let inputs = inputs.each_ref().map(Tensor::copy);
                let _ = inputs[which].view(-1).narrow(0, index, 1).g_add_scalar_(step);
                value(inputs.each_ref())
            });
            let (expected, found) =
                ((moved[1] - moved[0]) / (2.0 * step), gradient.tensor.reshape(-1).double_value(&[index]));
            assert!((found - expected).abs() < 1e-8, "{which} {index}: {found} {expected}");
        }
    }
}

#[test]
fn modulations_are_those_of_our_kernels() {
    for kind in [Kind::Float, Kind::BFloat16] {
        for (batch, groups, split) in [(1, 1, 0), (3, 1, 0), (1, 2, 9), (3, 2, 9)] {
            let tensor = |seed, tokens| normal(seed, &[batch, tokens, 48]).to_kind(kind);
            let ([input, scale, shift], grad) = ([tensor(1, 37), tensor(2, groups), tensor(3, groups)], tensor(4, 37));
            let inputs = [&input, &scale, &shift].map(burned);
            let (expected, norm) = host::Norm::modulate(inputs.clone(), split, EPS);
            let (found, graph) = Graph::record(inputs, |inputs| modulate(inputs, split, EPS));
            assert_close("modulate", &found.tensor, &expected.tensor);
            let expected = norm.modulate_gradients(&burned(&grad));
            for (found, expected) in graph.gradients(&grad).iter().zip(&expected) {
                assert_close("a gradient of modulate", &found.tensor, &expected.tensor);
            }

            let expected = host::gated_add(&burned(&grad), &burned(&input), &burned(&scale), split);
            assert_close("gated addition", &gated_add(&grad, [&input, &scale], split), &expected.tensor);
            let expected = host::gated_add_backward(&burned(&input), &burned(&scale), &burned(&grad), split);
            let [of_output, of_gate] = gated_add_gradients([&input, &scale], split, &grad);
            assert_close("of the output", &of_output, &expected.0.tensor);
            assert_close("of the gate", &of_gate, &expected.1.tensor);
        }
    }
}

#[test]
fn normalised_heads_are_turned_and_turned_back() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let (input, angles) = (normal(1, &[2, 19, 3, 16]).to_kind(kind), normal(2, &[19, 8]));
        let (cos, sin, grad) = (angles.cos(), angles.sin(), normal(3, &[2, 3, 19, 16]).to_kind(kind));
        let inputs = [&input, &cos, &sin].map(burned);
        let (expected, norm) = host::Norm::norm_rotate(inputs, EPS);
        let (normed, graph) = Graph::record([burned(&input)], |[input]| layer_norm(input, EPS));
        assert_close("rotated", &rotated(&normed.tensor, [&cos, &sin]), &expected.tensor);
        let [found] = graph.gradients(&turned_back(&grad, [&cos, &sin]));
        assert_close("gradient", &found.tensor, &norm.norm_rotate_gradient(&burned(&grad)).tensor);
    }
}

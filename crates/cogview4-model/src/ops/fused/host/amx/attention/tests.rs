//! Attention of the unit against the definition, in f64.

use proptest::prelude::*;
use rand_mt::Mt;

use super::{
    super::tests::{can_be_tested, values},
    *,
};

fn check([rows, keys, head_dim]: [usize; 3], has_bias: bool, is_causal: bool, seed: u32) {
    if !can_be_tested() {
        return;
    }
    let mut rng = Mt::new(seed);
    let [query, key, value] = [rows, keys, keys].map(|count| values(&mut rng, count * head_dim));
    let bias: Vec<f32> = values(&mut rng, keys).into_iter().map(|value| 4.0 * f32::from(value)).collect();
    let bias = has_bias.then_some(&bias[..]);
    let seen = |row: usize| if is_causal { (row + 1 + keys).saturating_sub(rows).max(1) } else { keys };
    let head = Head { index: 0, key: &key, value: &value, head_dim, scale: 2.0, bias };
    let (mut output, mut logsumexp) = (vec![bf16::NAN; rows * head_dim], vec![f32::NAN; rows]);
    let mut scratch = Scratch::default();
    // Another head before leaves nothing behind.
    let other = Head { index: 1, key: &value, value: &key, ..head };
    scratch.forward(other, &query, seen, &mut output, &mut logsumexp);
    scratch.forward(head, &query, seen, &mut output, &mut logsumexp);
    for row in 0..rows {
        let dot = |key: &[bf16]| -> f64 {
            query[row * head_dim..][..head_dim].iter().zip(key).map(|(a, b)| a.to_f64() * b.to_f64()).sum()
        };
        let score = |(index, key)| 2.0 * dot(key) + bias.map_or(0.0, |bias| f64::from(bias[index]));
        let scores: Vec<f64> = key.chunks_exact(head_dim).take(seen(row)).enumerate().map(score).collect();
        let sum: f64 = scores.iter().map(|score| score.exp()).sum();
        assert!((f64::from(logsumexp[row]) - sum.ln()).abs() < 1e-4, "{row}: {} {}", logsumexp[row], sum.ln());
        for column in 0..head_dim {
            let weighted = scores.iter().zip(value.chunks_exact(head_dim));
            let expected: f64 = weighted.map(|(score, value)| score.exp() / sum * value[column].to_f64()).sum();
            let found = output[row * head_dim + column].to_f64();
            // Half a unit in the last place of bfloat16, and what f32 loses on the way.
            let tolerance = expected.abs() / 256.0 + 1e-5;
            assert!((found - expected).abs() < tolerance, "{row} {column}: {found} {expected}");
        }
    }
}

/// Gradients against the definition.
fn check_backward([rows, keys, head_dim]: [usize; 3], has_bias: bool, is_causal: bool, seed: u32) {
    if !can_be_tested() {
        return;
    }
    let mut rng = Mt::new(seed);
    let [query, grad, key, value] = [rows, rows, keys, keys].map(|count| values(&mut rng, count * head_dim));
    let bias: Vec<f32> = values(&mut rng, keys).into_iter().map(|value| 4.0 * f32::from(value)).collect();
    let bias = has_bias.then_some(&bias[..]);
    let seen = |row: usize| if is_causal { (row + 1 + keys).saturating_sub(rows).max(1) } else { keys };
    let head = Head { index: 0, key: &key, value: &value, head_dim, scale: 2.0, bias };
    let (mut output, mut logsumexp) = (vec![bf16::NAN; rows * head_dim], vec![f32::NAN; rows]);
    Scratch::default().forward(head, &query, seen, &mut output, &mut logsumexp);
    let saved = Saved { grad: &grad, query: &query, output: &output, logsumexp: &logsumexp };
    let [mut of_query, mut of_key, mut of_value] = [rows, keys, keys].map(|count| vec![bf16::NAN; count * head_dim]);
    Backward::default().run(head, saved, seen, [&mut of_query, &mut of_key, &mut of_value]);

    // Sums, and what they would be if no term took from another.
    let mut expected = [rows, keys, keys].map(|count| vec![[0.0_f64; 2]; count * head_dim]);
    let mut add = |which: usize, index: usize, term: f64, size: f64| {
        let [sum, sizes] = &mut expected[which][index];
        (*sum, *sizes) = (*sum + term, *sizes + size);
    };
    let dot = |a: &[bf16], b: &[bf16]| -> f64 { a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum() };
    let line = |index: usize| index * head_dim..(index + 1) * head_dim;
    for row in 0..rows {
        let biased = |index: usize| bias.map_or(0.0, |bias| f64::from(bias[index]));
        let score = |index| (2.0 * dot(&query[line(row)], &key[line(index)]) + biased(index)).exp();
        let weights: Vec<f64> = (0..seen(row)).map(score).collect();
        let sum: f64 = weights.iter().sum();
        let of_weights: Vec<f64> = (0..seen(row)).map(|index| dot(&grad[line(row)], &value[line(index)])).collect();
        let delta: f64 = weights.iter().zip(&of_weights).map(|(weight, of_weight)| weight / sum * of_weight).sum();
        let of_output = grad[line(row)].iter().zip(&output[line(row)]);
        let of_output: f64 = of_output.map(|(grad, output)| (grad.to_f64() * output.to_f64()).abs()).sum();
        for (index, (weight, of_weight)) in weights.iter().zip(of_weights).enumerate() {
            let weight = weight / sum;
            let of_score = 2.0 * weight * (of_weight - delta);
            // The output that `delta` is summed of was rounded too.
            let size = of_score.abs() + 2.0 * weight * of_output;
            for column in 0..head_dim {
                let at = |index: usize| index * head_dim + column;
                let [key, query, grad] = [&key[at(index)], &query[at(row)], &grad[at(row)]].map(|value| value.to_f64());
                add(0, at(row), of_score * key, size * key.abs());
                add(1, at(index), of_score * query, size * query.abs());
                add(2, at(index), weight * grad, weight * grad.abs());
            }
        }
    }
    for (name, (found, expected)) in
        ["query", "key", "value"].into_iter().zip([of_query, of_key, of_value].into_iter().zip(&expected))
    {
        for (index, (found, [expected, size])) in found.iter().zip(expected).enumerate() {
            // Half a unit in the last place of bfloat16, for each term and for the sum.
            let error = (found.to_f64() - expected).abs();
            assert!(
                error <= (size + expected.abs()) / 256.0 + 1e-5,
                "{name} {index}: {found} {expected}, of terms of {size}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn attention_is_that_of_the_definition(
        rows in 1..80_usize, keys in 1..150_usize, head_dim in 1..150_usize, has_bias: bool, is_causal: bool, seed: u32,
    ) {
        check([rows, keys, head_dim], has_bias, is_causal, seed);
    }

    #[test]
    fn gradients_are_those_of_the_definition(
        rows in 1..150_usize, keys in 1..80_usize, head_dim in 1..80_usize, has_bias: bool, is_causal: bool, seed: u32,
    ) {
        check_backward([rows, keys, head_dim], has_bias, is_causal, seed);
    }
}

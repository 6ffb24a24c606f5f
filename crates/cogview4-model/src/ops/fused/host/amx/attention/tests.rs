//! Attention of the unit against the definition, in f64.

use proptest::prelude::*;
use rand_mt::Mt;

use super::{
    super::tests::{can_be_tested, values},
    *,
};

/// What attention is asked for.
struct Case {
    sizes: [usize; 3],
    query: Vec<bf16>,
    key: Vec<bf16>,
    value: Vec<bf16>,
    bias: Option<Vec<f32>>,
    is_causal: bool,
}

impl Case {
    fn new(sizes: [usize; 3], has_bias: bool, is_causal: bool, rng: &mut Mt) -> Self {
        let [rows, keys, head_dim] = sizes;
        let [query, key, value] = [rows, keys, keys].map(|count| values(rng, count * head_dim));
        let bias = values(rng, keys).into_iter().map(|value| 4.0 * f32::from(value)).collect();
        Self { sizes, query, key, value, bias: has_bias.then_some(bias), is_causal }
    }

    fn head(&self) -> Head<'_> {
        let (key, value, bias) = (&self.key, &self.value, self.bias.as_deref());
        Head { index: 0, key, value, head_dim: self.sizes[2], scale: 2.0, bias }
    }

    fn seen(&self, row: usize) -> usize {
        let [rows, keys, _] = self.sizes;
        if self.is_causal { (row + 1 + keys).saturating_sub(rows).max(1) } else { keys }
    }

    /// Where a query or a key is.
    fn line(&self, index: usize) -> std::ops::Range<usize> {
        index * self.sizes[2]..(index + 1) * self.sizes[2]
    }

    /// The weights of the keys that a row sees, by the definition, and the logarithm of what they were divided by.
    fn weights(&self, row: usize) -> (Vec<f64>, f64) {
        let biased = |index: usize| self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[index]));
        let score = |index| 2.0 * dot(&self.query[self.line(row)], &self.key[self.line(index)]) + biased(index);
        let weights: Vec<f64> = (0..self.seen(row)).map(|index| score(index).exp()).collect();
        let sum: f64 = weights.iter().sum();
        (weights.into_iter().map(|weight| weight / sum).collect(), sum.ln())
    }
}

fn dot(a: &[bf16], b: &[bf16]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum()
}

fn check(sizes @ [rows, _, head_dim]: [usize; 3], has_bias: bool, is_causal: bool, seed: u32) {
    if !can_be_tested() {
        return;
    }
    let case = Case::new(sizes, has_bias, is_causal, &mut Mt::new(seed));
    let (mut output, mut logsumexp) = (vec![bf16::NAN; rows * head_dim], vec![f32::NAN; rows]);
    let mut scratch = Scratch::default();
    // Another head before leaves nothing behind.
    let other = Head { index: 1, key: &case.value, value: &case.key, ..case.head() };
    for head in [other, case.head()] {
        scratch.forward(head, &case.query, |row| case.seen(row), &mut output, &mut logsumexp);
    }
    for row in 0..rows {
        let (weights, log_sum) = case.weights(row);
        assert!((f64::from(logsumexp[row]) - log_sum).abs() < 1e-4, "{row}: {} {log_sum}", logsumexp[row]);
        for column in 0..head_dim {
            let weighted = weights.iter().zip(case.value.chunks_exact(head_dim));
            let expected: f64 = weighted.map(|(weight, value)| weight * value[column].to_f64()).sum();
            let found = output[row * head_dim + column].to_f64();
            // Half a unit in the last place of bfloat16, and what f32 loses on the way.
            let tolerance = expected.abs() / 256.0 + 1e-5;
            assert!((found - expected).abs() < tolerance, "{row} {column}: {found} {expected}");
        }
    }
}

/// Gradients against the definition.
fn check_backward(sizes @ [rows, keys, head_dim]: [usize; 3], has_bias: bool, is_causal: bool, seed: u32) {
    if !can_be_tested() {
        return;
    }
    let mut rng = Mt::new(seed);
    let case = Case::new(sizes, has_bias, is_causal, &mut rng);
    let grad = values(&mut rng, rows * head_dim);
    let (mut output, mut logsumexp) = (vec![bf16::NAN; rows * head_dim], vec![f32::NAN; rows]);
    Scratch::default().forward(case.head(), &case.query, |row| case.seen(row), &mut output, &mut logsumexp);
    let saved = Saved { grad: &grad, query: &case.query, output: &output, logsumexp: &logsumexp };
    let [mut of_query, mut of_key, mut of_value] = [rows, keys, keys].map(|count| vec![bf16::NAN; count * head_dim]);
    let gradients = [&mut of_query[..], &mut of_key, &mut of_value];
    Backward::default().run(case.head(), saved, |row| case.seen(row), gradients);

    // Sums, and what they would be if no term took from another.
    let mut expected = [rows, keys, keys].map(|count| vec![[0.0_f64; 2]; count * head_dim]);
    let mut add = |which: usize, index: usize, term: f64, size: f64| {
        let [sum, sizes] = &mut expected[which][index];
        (*sum, *sizes) = (*sum + term, *sizes + size);
    };
    for row in 0..rows {
        let (weights, _) = case.weights(row);
        let of_weights: Vec<f64> =
            (0..weights.len()).map(|index| dot(&grad[case.line(row)], &case.value[case.line(index)])).collect();
        let delta: f64 = weights.iter().zip(&of_weights).map(|(weight, of_weight)| weight * of_weight).sum();
        let of_output = grad[case.line(row)].iter().zip(&output[case.line(row)]);
        let of_output: f64 = of_output.map(|(grad, output)| (grad.to_f64() * output.to_f64()).abs()).sum();
        for (index, (weight, of_weight)) in weights.into_iter().zip(of_weights).enumerate() {
            let of_score = 2.0 * weight * (of_weight - delta);
            // The output that `delta` is summed of was rounded too.
            let size = of_score.abs() + 2.0 * weight * of_output;
            for column in 0..head_dim {
                let at = |index: usize| index * head_dim + column;
                let [key, query, grad] =
                    [&case.key[at(index)], &case.query[at(row)], &grad[at(row)]].map(|value| value.to_f64());
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

//! Elementwise mathematics that the compiler turns into vector instructions: no branches, no calls. Callers run it
//! inside `pulp`'s dispatch, which compiles it for the widest instructions of the machine.

use std::f32::consts::LOG2_E;

/// Exponents below this give 0.
const SMALLEST_EXPONENT: f32 = -87.0;
/// Exponents above this are cut.
const LARGEST_EXPONENT: f32 = 88.0;
/// Adding this to a small float rounds it to an integer, which then stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// `e^x` within two units in the last place; 0 below -87, cut at `e^88`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // ln(2) in two parts, so that n * LN_2_HIGH is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(SMALLEST_EXPONENT, LARGEST_EXPONENT);
    let rounded = clamped.mul_add(LOG2_E, ROUNDER);
    let n = rounded - ROUNDER;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, clamped));
    // The polynomial of Cephes' expf for |r| <= ln(2) / 2.
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let power = p.mul_add(r * r, r) + 1.0;
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x < SMALLEST_EXPONENT { 0.0 } else { power * scale }
}

/// `2 sqrt(2 / pi)`, as in GELU's tanh form.
const DOUBLE_SQRT_2_OVER_PI: f32 = 1.595_769_2;
/// Factor of the cube there.
const GELU_CUBE: f32 = 0.044_715 * DOUBLE_SQRT_2_OVER_PI;

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// GELU in its tanh form, through `(1 + tanh(u)) / 2 = 1 / (1 + e^(-2 u))`.
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    let inner = x * (DOUBLE_SQRT_2_OVER_PI + GELU_CUBE * x * x);
    x / (1.0 + exp(-inner))
}

/// Derivative of [`silu`].
#[inline(always)]
pub(super) fn silu_slope(x: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + exp(-x));
    sigmoid * (1.0 + x * (1.0 - sigmoid))
}

/// Derivative of [`gelu_tanh`].
#[inline(always)]
pub(super) fn gelu_tanh_slope(x: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + exp(-x * (DOUBLE_SQRT_2_OVER_PI + GELU_CUBE * x * x)));
    sigmoid + x * sigmoid * (1.0 - sigmoid) * (DOUBLE_SQRT_2_OVER_PI + 3.0 * GELU_CUBE * x * x)
}

/// Values that are summed apart, then together, so that the order of a sum does not depend on the machine.
const LANES: usize = 16;

/// Mean, and one over the root of variance plus `eps`.
#[inline(always)]
pub(super) fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let (mean, squares) = deviations(row);
    (mean, 1.0 / (squares / row.len() as f32 + eps).sqrt())
}

/// Mean, and the sum of the squares of what values are away from it.
#[inline(always)]
pub(super) fn deviations(row: &[f32]) -> (f32, f32) {
    let mean = total(row) / row.len() as f32;
    let squares = sum(
        row,
        #[inline(always)]
        |value| (value - mean) * (value - mean),
    );
    (mean, squares)
}

/// Sum of a row.
#[inline(always)]
pub(super) fn total(row: &[f32]) -> f32 {
    sum(
        row,
        #[inline(always)]
        |value| value,
    )
}

/// Turns the gradient of a normalised row into that of the row: `inverse_std * (g - mean(g) - n * mean(g * n))`.
#[inline(always)]
pub(super) fn norm_backward(input: &[f32], grad: &mut [f32], mean: f32, inverse_std: f32) {
    let count = input.len() as f32;
    let of_mean = total(grad) / count;
    // The sum of n is 0, so that the mean of the gradient may be left out here.
    let of_norm = (dot(grad, input) / count - of_mean * mean) * inverse_std;
    for (grad, &input) in grad.iter_mut().zip(input) {
        *grad = (*grad - of_mean - (input - mean) * inverse_std * of_norm) * inverse_std;
    }
}

/// Sum of the products of two rows.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    a_rest.iter().zip(b_rest).fold(sums.iter().sum(), |sum, (a, b)| sum + a * b)
}

#[inline(always)]
fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += term(value);
        }
    }
    rest.iter().fold(sums.iter().sum(), |sum, &value| sum + term(value))
}

/// Replaces scores by `e^(score - largest)`; gives the largest, and their sum.
#[cfg(feature = "flex")]
#[inline(always)]
pub(super) fn exp_row(scores: &mut [f32]) -> (f32, f32) {
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in chunks.iter() {
        for (largest, &score) in largest.iter_mut().zip(chunk) {
            *largest = if score > *largest { score } else { *largest };
        }
    }
    let largest = largest.iter().chain(rest.iter()).fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            *score = exp(*score - largest);
            *sum += *score;
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for score in rest {
        *score = exp(*score - largest);
        sum += *score;
    }
    (largest, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let worst = (-86_000..88_000).map(|i| i as f32 / 1000.0).map(|x| {
            let exact = f64::from(x).exp();
            (f64::from(exp(x)) / exact - 1.0).abs() / f64::from(f32::EPSILON)
        });
        assert!(worst.fold(0.0, f64::max) < 2.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn activations_match_their_definitions() {
        for x in (-2000..2000).map(|i| i as f32 / 100.0) {
            let exact = f64::from(x);
            let u = (2.0 / std::f64::consts::PI).sqrt() * (exact + 0.044_715 * exact.powi(3));
            assert!((f64::from(gelu_tanh(x)) - exact / 2.0 * (1.0 + u.tanh())).abs() < 1e-6 * exact.abs().max(1.0));
            assert!((f64::from(silu(x)) - exact / (1.0 + (-exact).exp())).abs() < 1e-6 * exact.abs().max(1.0));
        }
    }
}

//! Winograd's minimal filtering, F(4x4, 3x3): four outputs of three taps with six multiplications instead of twelve, in
//! both directions (Lavin and Gray 2015, arXiv:1509.09308).
//!
//! The points are 0, ±1/√2, ±√2 and infinity: products lose half of what they lose at the usual 0, ±1, ±2 and infinity,
//! and come to within twice the error of a plain sum. With B, G and A as in the paper, functions are named by what they
//! are applied to. Each is one-dimensional, and is applied to columns, then rows.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Pixels of the output in a tile, in each direction.
pub(super) const TILE: usize = 4;
/// Pixels of the input that a tile depends on, in each direction, and what they are turned into.
pub(super) const PATCH: usize = 6;
/// Products a tile.
pub(super) const PRODUCTS: usize = PATCH * PATCH;
/// Taps of a filter, in each direction.
pub(super) const TAPS: usize = 3;
/// Tiles, or filters, that are turned together: a lane each.
pub(super) const LANES: usize = 16;

/// Bᵀ d: pixels of the input.
#[inline(always)]
pub(super) fn of_input(d: [f32; PATCH]) -> [f32; PATCH] {
    let (even, odd) = (d[2].mul_add(-2.0, d[4]), d[1].mul_add(-2.0, d[3]) * FRAC_1_SQRT_2);
    let (far_even, far_odd) = (d[2].mul_add(-0.5, d[4]), d[1].mul_add(-0.5, d[3]) * SQRT_2);
    [
        d[2].mul_add(-2.5, d[0]) + d[4],
        even + odd,
        even - odd,
        far_even + far_odd,
        far_even - far_odd,
        d[3].mul_add(-2.5, d[1]) + d[5],
    ]
}

/// G g: taps of a filter.
#[inline(always)]
pub(super) fn of_filter(g: [f32; TAPS]) -> [f32; PATCH] {
    let (even, odd) = (g[2].mul_add(0.5, g[0]) / -1.5, g[1] * (FRAC_1_SQRT_2 / -1.5));
    let (far_even, far_odd) = (g[2].mul_add(2.0, g[0]) / 6.0, g[1] * (SQRT_2 / 6.0));
    [g[0], even + odd, even - odd, far_even + far_odd, far_even - far_odd, g[2]]
}

/// Aᵀ m: sums of products, to pixels of the output.
#[inline(always)]
pub(super) fn to_output(m: [f32; PATCH]) -> [f32; TILE] {
    let (even, odd) = (m[1] + m[2], (m[1] - m[2]) * FRAC_1_SQRT_2);
    let (far_even, far_odd) = (m[3] + m[4], (m[3] - m[4]) * SQRT_2);
    [
        m[0] + even + far_even,
        odd + far_odd,
        even.mul_add(0.5, far_even * 2.0),
        odd.mul_add(0.5, far_odd.mul_add(2.0, m[5])),
    ]
}

/// A y: the gradient of pixels of the output, to that of the sums.
#[inline(always)]
pub(super) fn of_output_gradient(y: [f32; TILE]) -> [f32; PATCH] {
    let (even, odd) = (y[2].mul_add(0.5, y[0]), y[3].mul_add(0.5, y[1]) * FRAC_1_SQRT_2);
    let (far_even, far_odd) = (y[2].mul_add(2.0, y[0]), y[3].mul_add(2.0, y[1]) * SQRT_2);
    [y[0], even + odd, even - odd, far_even + far_odd, far_even - far_odd, y[3]]
}

/// Gᵀ u: the gradient of a filter that was turned, to that of its taps.
#[inline(always)]
pub(super) fn to_filter_gradient(u: [f32; PATCH]) -> [f32; TAPS] {
    let (even, odd) = ((u[1] + u[2]) / -1.5, (u[1] - u[2]) * (FRAC_1_SQRT_2 / -1.5));
    let (far_even, far_odd) = ((u[3] + u[4]) / 6.0, (u[3] - u[4]) * (SQRT_2 / 6.0));
    [u[0] + even + far_even, odd + far_odd, even.mul_add(0.5, far_even.mul_add(2.0, u[5]))]
}

/// Applies a function to the columns of a square, then to its rows, in all lanes. Plain loops: what `array::from_fn`
/// calls is not compiled for the instructions of the caller.
#[inline(always)]
pub(super) fn both<const N: usize, const M: usize>(
    square: &[[[f32; LANES]; N]; N],
    function: impl Fn([f32; N]) -> [f32; M],
) -> [[[f32; LANES]; M]; M] {
    let mut columns = [[[0.0; LANES]; N]; M];
    for column in 0..N {
        for lane in 0..LANES {
            let mut values = [0.0; N];
            for row in 0..N {
                values[row] = square[row][column][lane];
            }
            let turned = function(values);
            for row in 0..M {
                columns[row][column][lane] = turned[row];
            }
        }
    }
    let mut rows = [[[0.0; LANES]; M]; M];
    for (row, columns) in rows.iter_mut().zip(&columns) {
        for lane in 0..LANES {
            let mut values = [0.0; N];
            for column in 0..N {
                values[column] = columns[column][lane];
            }
            let turned = function(values);
            for column in 0..M {
                row[column][lane] = turned[column];
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_are_a_correlation(d: [i8; PATCH], g: [i8; TAPS], y: [i8; TILE]) {
            let (d, g, y) = (d.map(f32::from), g.map(f32::from), y.map(f32::from));
            let (turned, filter) = (of_input(d), of_filter(g));
            let output = to_output(std::array::from_fn(|i| turned[i] * filter[i]));
            for (i, output) in output.into_iter().enumerate() {
                let exact: f32 = (0..TAPS).map(|tap| d[i + tap] * g[tap]).sum();
                prop_assert!((output - exact).abs() < 0.05, "{output} {exact}");
            }
            // The gradient of the taps is a correlation of input and gradient.
            let of_sums = of_output_gradient(y);
            let gradient = to_filter_gradient(std::array::from_fn(|i| of_sums[i] * turned[i]));
            for (tap, gradient) in gradient.into_iter().enumerate() {
                let exact: f32 = (0..TILE).map(|i| d[i + tap] * y[i]).sum();
                prop_assert!((gradient - exact).abs() < 0.05, "{gradient} {exact}");
            }
        }
    }
}

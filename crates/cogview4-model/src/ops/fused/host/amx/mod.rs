//! Products of bfloat16 matrices on the CPU's matrix unit (Intel AMX), summed in f32 and rounded once.
//!
//! oneDNN, which libtorch asks, reaches a fifth of what the unit can do at the sizes of the released model; these
//! products reach about twice as much, and serve the pure-Rust backend too.

#[cfg(feature = "flex")]
pub(super) mod attention;
pub(super) mod convolution;
mod output;
mod pack;
mod product;
mod tiles;

use std::sync::OnceLock;

pub(super) use product::product;

/// Multiplications from which a product is worth setting up the unit.
pub(super) const LEAST_WORK: usize = 1 << 18;

/// Whether the machine has the unit.
pub(super) fn is_there() -> bool {
    static IS_THERE: OnceLock<bool> = OnceLock::new();
    *IS_THERE.get_or_init(tiles::is_there)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Once};

    use half::bf16;
    use proptest::prelude::*;
    use rand_mt::Mt;

    use super::{is_there, product};
    use crate::ops::fused::host::matrix::Matrix;

    pub(super) fn values(rng: &mut Mt, count: usize) -> Vec<bf16> {
        (0..count).map(|_| bf16::from_f32(rng.next_u32() as f32 / u32::MAX as f32 - 0.5)).collect()
    }

    /// Values by rows or by columns, and how to find one.
    fn matrix(values: &[bf16], rows: usize, is_by_rows: bool) -> (Matrix<'_>, impl Fn(usize, usize) -> f64) {
        let depth = values.len() / rows;
        let matrix =
            if is_by_rows { Matrix::by_rows(values, rows, depth) } else { Matrix::by_columns(values, rows, depth) };
        let index = move |row, k| if is_by_rows { row * depth + k } else { k * rows + row };
        (matrix, move |row, k| values[index(row, k)].to_f64())
    }

    /// Whether products can be tested; says so where not.
    pub(super) fn can_be_tested() -> bool {
        static SAYS_SO: Once = Once::new();
        if !is_there() {
            SAYS_SO.call_once(|| {
                // Not by `eprintln`, which shows nothing where tests pass.
                writeln!(std::io::stderr(), "skipped: products of the matrix unit, which this machine lacks")
                    .expect("standard error");
            });
        }
        is_there()
    }

    /// Compares every `stride`-th value with the definition.
    fn check([rows, columns, depth]: [usize; 3], by_rows: [bool; 2], has_bias: bool, seed: u32, stride: usize) {
        if !can_be_tested() {
            return;
        }
        let mut rng = Mt::new(seed);
        let [a, b] = [rows, columns].map(|rows| values(&mut rng, rows * depth));
        let (a, of_a) = matrix(&a, rows, by_rows[0]);
        let (b, of_b) = matrix(&b, columns, by_rows[1]);
        let bias: Vec<f32> = values(&mut rng, columns).into_iter().map(f32::from).collect();
        let mut output = vec![bf16::NAN; rows * columns];
        product(a, b, has_bias.then_some(&bias), &mut output);
        for (index, found) in output.into_iter().enumerate().step_by(stride) {
            let (row, column) = (index / columns, index % columns);
            let sum: f64 = (0..depth).map(|k| of_a(row, k) * of_b(column, k)).sum();
            let expected = sum + if has_bias { f64::from(bias[column]) } else { 0.0 };
            // Half a unit in the last place of bfloat16, and what f32 loses on the way.
            let tolerance = expected.abs() / 256.0 + 1e-5;
            assert!((found.to_f64() - expected).abs() <= tolerance, "{row} {column}: {found} {expected}");
        }
    }

    #[test]
    fn products_of_many_tasks() {
        for by_rows in [[true, true], [true, false], [false, true], [false, false]] {
            for [rows, columns] in [[1150, 2000], [2000, 1150]] {
                check([rows, columns, 300], by_rows, true, 5, 37);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn products_are_those_of_the_definition(
            sizes in [1..150_usize, 1..150, 1..700], by_rows: [bool; 2], has_bias: bool, seed: u32,
        ) {
            check(sizes, by_rows, has_bias, seed, 1);
        }
    }
}

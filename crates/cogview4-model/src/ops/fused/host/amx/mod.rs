//! Products of bfloat16 matrices on the CPU's matrix unit (Intel AMX), summed in f32 and rounded once.
//!
//! oneDNN, which libtorch asks, reaches a fifth of what the unit can do at the sizes of the released model; these
//! products reach about twice as much, and serve the pure-Rust backend too.

mod output;
mod pack;
mod product;
mod tiles;
mod vectors;

use std::sync::OnceLock;

use burn::tensor::DType;
use half::bf16;
use rayon::prelude::*;

use self::{pack::Matrix, product::product};
use super::{HostTensor, widened};

/// Multiplications from which a product is worth the threads it wakes.
const LEAST_WORK: usize = 1 << 18;
/// Columns of a bias's gradient that are summed together.
const COLUMNS: usize = 64;

/// `input W^T + bias` of `[R, in]`, `[out, in]` and `[out]`; `None` where the unit does not serve.
pub(in crate::ops::fused) fn linear<H: HostTensor>(input: &H, weight: &H, bias: &H) -> Option<H> {
    let ([rows, depth], [columns, _]) = (input.dims(), weight.dims());
    serves(input, rows * columns * depth).then(|| {
        let (input, weight, bias) = (input.contiguous(), weight.contiguous(), bias.to_f32());
        let of_rows = Matrix::by_rows(input.values(), rows, depth);
        let of_columns = Matrix::by_rows(weight.values(), columns, depth);
        input.filled(&[rows, columns], |output| product(of_rows, of_columns, Some(&bias), output))
    })
}

/// Gradients of input, weight and bias of [`linear`], of a gradient `[R, out]`.
pub(in crate::ops::fused) fn linear_backward<H: HostTensor>(input: &H, weight: &H, grad: &H) -> Option<(H, H, H)> {
    let ([rows, depth], [columns, _]) = (input.dims(), weight.dims());
    serves(input, rows * columns * depth).then(|| {
        let [input, weight, grad] = [input, weight, grad].map(H::contiguous);
        let [inputs, weights, grads] = [&input, &weight, &grad].map(H::values::<bf16>);
        let of_input = input.filled(&[rows, depth], |output| {
            product(Matrix::by_rows(grads, rows, columns), Matrix::by_columns(weights, depth, columns), None, output);
        });
        let of_weight = weight.filled(&[columns, depth], |output| {
            product(Matrix::by_columns(grads, columns, rows), Matrix::by_columns(inputs, depth, rows), None, output);
        });
        let of_bias = grad.filled(&[columns], |output| sum_rows(grads, output));
        (of_input, of_weight, of_bias)
    })
}

/// Whether products of this type are the unit's.
pub(in crate::ops::fused) fn is_served(dtype: DType) -> bool {
    static IS_THERE: OnceLock<bool> = OnceLock::new();
    dtype == DType::BF16 && *IS_THERE.get_or_init(tiles::is_there)
}

fn serves<H: HostTensor>(tensor: &H, work: usize) -> bool {
    work >= LEAST_WORK && is_served(tensor.dtype())
}

/// Sums rows in order, in f32.
fn sum_rows(values: &[bf16], output: &mut [bf16]) {
    let width = output.len();
    output.par_chunks_mut(COLUMNS).enumerate().for_each(|(index, output)| {
        let mut sums = [0.0; COLUMNS];
        for row in values.chunks_exact(width) {
            for (sum, &value) in sums.iter_mut().zip(&row[index * COLUMNS..][..output.len()]) {
                *sum += widened(value);
            }
        }
        output.iter_mut().zip(sums).for_each(|(output, sum)| *output = super::rounded(sum));
    });
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Once};

    use burn::tensor::DType;
    use half::bf16;
    use proptest::prelude::*;
    use rand_mt::Mt;

    use super::{is_served, pack::Matrix, product::product, sum_rows};

    fn values(rng: &mut Mt, count: usize) -> Vec<bf16> {
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
    fn is_there() -> bool {
        static SAYS_SO: Once = Once::new();
        let is_there = is_served(DType::BF16);
        if !is_there {
            SAYS_SO.call_once(|| {
                // Not by `eprintln`, which shows nothing where tests pass.
                writeln!(std::io::stderr(), "skipped: products of the matrix unit, which this machine lacks")
                    .expect("standard error");
            });
        }
        is_there
    }

    /// Compares every `stride`-th value with the definition.
    fn check([rows, columns, depth]: [usize; 3], by_rows: [bool; 2], has_bias: bool, seed: u32, stride: usize) {
        if !is_there() {
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

        #[test]
        fn rows_are_summed(rows in 1..20_usize, width in 1..200_usize, seed: u32) {
            let values = values(&mut Mt::new(seed), rows * width);
            let mut sums = vec![bf16::NAN; width];
            sum_rows(&values, &mut sums);
            for (column, sum) in sums.into_iter().enumerate() {
                let expected: f32 = (0..rows).map(|row| values[row * width + column].to_f32()).sum();
                prop_assert_eq!(sum, bf16::from_f32(expected));
            }
        }
    }
}

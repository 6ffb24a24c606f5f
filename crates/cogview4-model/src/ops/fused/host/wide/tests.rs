//! Products of every kernel against the definition, in f64.

use std::io::Write;

use half::{bf16, f16};
use proptest::prelude::*;
use rand_mt::Mt;

use super::{Operand, is_there, product};
use crate::ops::{BLOCK_VALUES, ProductKernel, fused::host::matrix::Matrix};

const KERNELS: [ProductKernel; 3] = [ProductKernel::Avx2, ProductKernel::Avx512, ProductKernel::Avx512Bf16];

/// The kernels that this machine has.
fn kernels() -> impl Iterator<Item = ProductKernel> {
    KERNELS.into_iter().filter(|&kernel| is_there(kernel))
}

fn values(rng: &mut Mt, count: usize) -> Vec<bf16> {
    (0..count).map(|_| bf16::from_f32(rng.next_u32() as f32 / u32::MAX as f32 - 0.5)).collect()
}

/// Two matrices and a bias.
struct Problem {
    dims: [usize; 3],
    is_by_rows: [bool; 2],
    values: [Vec<bf16>; 2],
    bias: Option<Vec<f32>>,
}

impl Problem {
    fn new(dims @ [rows, columns, depth]: [usize; 3], is_by_rows: [bool; 2], has_bias: bool, seed: u32) -> Self {
        let mut rng = Mt::new(seed);
        let values_of = [rows, columns].map(|rows| values(&mut rng, rows * depth));
        let bias = has_bias.then(|| values(&mut rng, columns).into_iter().map(f32::from).collect());
        Self { dims, is_by_rows, values: values_of, bias }
    }

    fn matrix<'a, T>(&self, side: usize, values: &'a [T]) -> Matrix<'a, T> {
        let (rows, depth) = (self.dims[side], self.dims[2]);
        match self.is_by_rows[side] {
            true => Matrix::by_rows(values, rows, depth),
            false => Matrix::by_columns(values, rows, depth),
        }
    }

    fn value(&self, side: usize, row: usize, k: usize) -> f64 {
        let index = if self.is_by_rows[side] { row * self.dims[2] + k } else { k * self.dims[side] + row };
        self.values[side][index].to_f64()
    }

    fn run(&self, kernel: ProductKernel) -> Vec<bf16> {
        let mut output = vec![bf16::NAN; self.dims[0] * self.dims[1]];
        let [rows, columns] = [0, 1].map(|side| Operand::Bf16(self.matrix(side, &self.values[side])));
        product(kernel, rows, columns, self.bias.as_deref(), &mut output);
        output
    }

    /// The same values in f32, by a kernel that multiplies these.
    fn run_wide(&self, kernel: ProductKernel) -> Vec<f32> {
        let wide = self.values.each_ref().map(|values| values.iter().map(|value| value.to_f32()).collect::<Vec<_>>());
        let mut output = vec![f32::NAN; self.dims[0] * self.dims[1]];
        let [rows, columns] = [0, 1].map(|side| Operand::F32(self.matrix(side, &wide[side])));
        product(kernel, rows, columns, self.bias.as_deref(), &mut output);
        output
    }

    /// Compares every `stride`-th value of each kernel with the definition.
    fn check(&self, stride: usize) {
        let [_, columns, depth] = self.dims;
        for kernel in kernels() {
            let found = self.run(kernel).into_iter().zip(self.run_wide(kernel));
            for (index, (narrow, wide)) in found.enumerate().step_by(stride) {
                let (row, column) = (index / columns, index % columns);
                let sum: f64 = (0..depth).map(|k| self.value(0, row, k) * self.value(1, column, k)).sum();
                let expected = sum + self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[column]));
                // Half a unit in the last place of bfloat16, and what f32 loses on the way.
                for (found, tolerance) in [(narrow.to_f64(), expected.abs() / 256.0 + 1e-5), (wide.into(), 1e-5)] {
                    let error = (found - expected).abs();
                    assert!(error <= tolerance, "{kernel:?}, {row} {column}: {found} {expected}");
                }
            }
        }
    }
}

const ORDERS: [[bool; 2]; 4] = [[true, true], [true, false], [false, true], [false, false]];

#[test]
fn kernels_that_are_not_there_are_said() {
    for kernel in KERNELS.into_iter().filter(|&kernel| !is_there(kernel)) {
        // Not by `eprintln`, which shows nothing where tests pass.
        writeln!(std::io::stderr(), "skipped: products of {kernel:?}, which this machine lacks").unwrap();
        assert!(ProductKernel::chosen() == ProductKernel::MatrixUnit || ProductKernel::chosen() < kernel);
    }
}

#[test]
fn products_of_many_tasks() {
    for is_by_rows in ORDERS {
        for [rows, columns] in [[1150, 700], [300, 1500]] {
            Problem::new([rows, columns, 611], is_by_rows, true, 5).check(997);
        }
    }
}

#[test]
fn sums_are_the_same_whatever_the_number_of_threads() {
    for (seed, is_by_rows) in (0..).zip(ORDERS) {
        let problem = Problem::new([90, 330, 1301], is_by_rows, true, seed);
        let runs = [1, 2, 3, 16].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| kernels().map(|kernel| problem.run(kernel)).collect::<Vec<_>>())
        });
        assert!(runs.iter().all(|run| *run == runs[0]));
    }
}

#[test]
fn memory_need_not_be_aligned() {
    let (dims @ [rows, columns, depth], mut rng) = ([20, 40, 77], Mt::new(3));
    let [a, b] = [rows, columns].map(|rows| values(&mut rng, rows * depth + 1));
    for kernel in kernels() {
        let run = |a: &[bf16], b: &[bf16]| {
            let mut output = vec![bf16::NAN; rows * columns];
            let [a, b] = [(a, dims[0]), (b, dims[1])].map(|(values, rows)| Matrix::by_rows(values, rows, depth));
            product(kernel, Operand::Bf16(a), Operand::Bf16(b), None, &mut output);
            output
        };
        let [moved_a, moved_b] = [&a, &b].map(|values| values[1..].to_vec());
        assert_eq!(run(&a[1..], &b[1..]), run(&moved_a, &moved_b));
    }
}

#[test]
fn infinities_and_zeros_are_kept() {
    let (a, b) = (vec![bf16::INFINITY; 5], [1.0, 0.0, -1.0, -0.0, 2.0].map(bf16::from_f32));
    for kernel in kernels() {
        let mut output = vec![bf16::ZERO; 25];
        let [a, b] = [&a, &b[..]].map(|values| Operand::Bf16(Matrix::by_rows(values, 5, 1)));
        product(kernel, a, b, None, &mut output);
        assert!(
            output.chunks(5).all(|row| row[0] == bf16::INFINITY && row[1].is_nan() && row[2] == bf16::NEG_INFINITY)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_those_of_the_definition(
        dims in [1..100_usize, 1..100, 1..700], is_by_rows: [bool; 2], has_bias: bool, seed: u32,
    ) {
        Problem::new(dims, is_by_rows, has_bias, seed).check(1);
    }

    #[test]
    fn few_rows_are_those_of_the_definition(
        dims in [1..5_usize, 1..600, 1..1500], is_by_rows: [bool; 2], has_bias: bool, seed: u32,
    ) {
        Problem::new(dims, is_by_rows, has_bias, seed).check(1);
    }

    #[test]
    fn codes_are_widened(dims in [1..40_usize, 1..80, 1..700], is_narrow: bool, seed: u32) {
        let ([rows, columns, depth], mut rng) = (dims, Mt::new(seed));
        let codes: Vec<i8> = (0..columns * depth).map(|_| (rng.next_u32() % 255) as i8).collect();
        let blocks = depth.div_ceil(BLOCK_VALUES);
        let scales = values(&mut rng, columns * blocks);
        let scales: Vec<f16> = scales.into_iter().map(|value| f16::from_f32(value.into())).collect();
        let narrow = values(&mut rng, rows * depth);
        let wide: Vec<f32> = narrow.iter().map(|&value| value.into()).collect();
        let of_codes = Operand::Codes { codes: &codes, scales: &scales, depth };
        for kernel in kernels() {
            let mut output = vec![f32::NAN; rows * columns];
            let of_rows = match is_narrow {
                true => Operand::Bf16(Matrix::by_rows(&narrow, rows, depth)),
                false => Operand::F32(Matrix::by_rows(&wide, wide.len() / depth, depth)),
            };
            product(kernel, of_rows, of_codes, None, &mut output);
            for (index, found) in output.into_iter().enumerate() {
                let (row, column) = (index / columns, index % columns);
                let term = |k: usize| -> f64 {
                    let scale = scales[column * blocks + k / BLOCK_VALUES].to_f64();
                    f64::from(codes[column * depth + k]) * scale * narrow[row * depth + k].to_f64()
                };
                let sum: f64 = (0..depth).map(term).sum();
                let largest: f64 = (0..depth).map(|k| term(k).abs()).sum();
                // Pairs in bfloat16 are rounded to it.
                let tolerance = largest * if is_narrow { 1.0 / 256.0 } else { 1e-6 };
                prop_assert!((f64::from(found) - sum).abs() <= tolerance, "{:?} {} {}", kernel, found, sum);
            }
        }
    }
}

//! Products of linear layers, by the best kernel that the CPU has.

use burn::tensor::DType;
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    HostTensor, Value, amx,
    matrix::Matrix,
    rows::by_type,
    wide::{self, Operand},
};
use crate::ops::{ProductKernel, QuantizedMatrix};

/// Rows from which the matrix unit is worth a weight that is widened as a whole.
const UNIT_ROWS: usize = 32;
/// Columns of a bias's gradient that are summed together.
const COLUMNS: usize = 64;

/// `input W^T + bias` of `[R, in]`, `[out, in]` and `[out]`; `None` where no kernel serves.
pub(in crate::ops::fused) fn linear<H: HostTensor>(input: &H, weight: &H, bias: &H) -> Option<H> {
    serves(input, weight).then(|| by_type!(input, linear_typed(input, weight, bias)))
}

fn linear_typed<H: HostTensor, T: Factor>(input: &H, weight: &H, bias: &H) -> H {
    let ([rows, depth], [columns, _]) = (input.dims(), weight.dims());
    let (input, weight, bias) = (input.contiguous(), weight.contiguous(), bias.to_f32());
    let of_rows = Matrix::by_rows(input.values::<T>(), rows, depth);
    let of_columns = Matrix::by_rows(weight.values(), columns, depth);
    input.filled(&[rows, columns], |output| T::product(of_rows, of_columns, Some(&bias), output))
}

/// Gradients of input, weight and bias of [`linear`], of a gradient `[R, out]`.
pub(in crate::ops::fused) fn linear_backward<H: HostTensor>(input: &H, weight: &H, grad: &H) -> Option<(H, H, H)> {
    serves(input, weight).then(|| by_type!(input, linear_backward_typed(input, weight, grad)))
}

fn linear_backward_typed<H: HostTensor, T: Factor>(input: &H, weight: &H, grad: &H) -> (H, H, H) {
    let ([rows, depth], [columns, _]) = (input.dims(), weight.dims());
    let [input, weight, grad] = [input, weight, grad].map(H::contiguous);
    let [inputs, weights, grads] = [&input, &weight, &grad].map(H::values::<T>);
    let of_input = input.filled(&[rows, depth], |output| {
        T::product(Matrix::by_rows(grads, rows, columns), Matrix::by_columns(weights, depth, columns), None, output);
    });
    let of_weight = weight.filled(&[columns, depth], |output| {
        T::product(Matrix::by_columns(grads, columns, rows), Matrix::by_columns(inputs, depth, rows), None, output);
    });
    let of_bias = grad.filled(&[columns], |output| sum_rows(grads, output));
    (of_input, of_weight, of_bias)
}

/// As [`linear`], of a weight in 8 bits, where [`serves_quantized`].
pub(in crate::ops::fused) fn quantized_linear<H: HostTensor>(input: &H, weight: &QuantizedMatrix, bias: &H) -> H {
    let ([rows, depth], [columns, width]) = (input.dims(), weight.dims());
    assert_eq!(depth, width, "invariant: one axis that is summed over");
    let (input, bias) = (input.contiguous(), bias.to_f32());
    let codes = Operand::Codes { codes: weight.codes(), scales: weight.scales(), depth };
    let kernel = ProductKernel::chosen();
    if input.dtype() == DType::F32 {
        let of_rows = Operand::F32(Matrix::by_rows(input.values(), rows, depth));
        return input.filled::<f32>(&[rows, columns], |output| {
            wide::product(kernel.of_vectors(), of_rows, codes, Some(&bias), output);
        });
    }
    let of_rows = Matrix::by_rows(input.values(), rows, depth);
    input.filled::<bf16>(&[rows, columns], |output| {
        if kernel == ProductKernel::MatrixUnit && rows >= UNIT_ROWS {
            let values = weight.to_data(DType::BF16);
            let values = values.as_slice().expect("invariant: of this type");
            return bf16::product(of_rows, Matrix::by_rows(values, columns, depth), Some(&bias), output);
        }
        wide::product(kernel.of_vectors(), Operand::Bf16(of_rows), codes, Some(&bias), output);
    })
}

/// Whether a kernel multiplies this type with weights in 8 bits.
pub(in crate::ops::fused) fn serves_quantized(dtype: DType) -> bool {
    matches!(dtype, DType::BF16 | DType::F32) && ProductKernel::chosen() != ProductKernel::Library
}

/// Whether products of this type are a kernel's.
pub(in crate::ops::fused) fn is_served(dtype: DType) -> bool {
    matches!(dtype, DType::BF16 | DType::F32) && ProductKernel::chosen() != ProductKernel::Library
}

fn serves<H: HostTensor>(input: &H, weight: &H) -> bool {
    let has_values = |tensor: &H| !tensor.dims::<2>().contains(&0);
    has_values(input) && has_values(weight) && is_served(input.dtype())
}

/// Whether the CPU multiplies bfloat16. Where it does not, libraries do so value by value, and f32 is faster.
#[cfg(feature = "libtorch")]
pub(in crate::ops::fused) fn has_bf16() -> bool {
    ProductKernel::chosen() >= ProductKernel::Avx512Bf16
}

/// Whether the CPU has a kernel.
pub(in crate::ops) fn has_kernel(kernel: ProductKernel) -> bool {
    match kernel {
        ProductKernel::MatrixUnit => amx::is_there(),
        _ => wide::is_there(kernel),
    }
}

/// What matrices hold.
trait Factor: Value {
    /// `output[i][j] = sum over k of rows[i][k] columns[j][k], + bias[j]`, by the best kernel for this type.
    fn product(rows: Matrix<'_, Self>, columns: Matrix<'_, Self>, bias: Option<&[f32]>, output: &mut [Self]);
}

impl Factor for bf16 {
    fn product(rows: Matrix<'_>, columns: Matrix<'_>, bias: Option<&[f32]>, output: &mut [Self]) {
        let kernel = ProductKernel::chosen();
        let work = rows.rows * columns.rows * rows.depth;
        if kernel == ProductKernel::MatrixUnit && work >= amx::LEAST_WORK {
            return amx::product(rows, columns, bias, output);
        }
        wide::product(kernel.of_vectors(), Operand::Bf16(rows), Operand::Bf16(columns), bias, output);
    }
}

impl Factor for f32 {
    fn product(rows: Matrix<'_, f32>, columns: Matrix<'_, f32>, bias: Option<&[f32]>, output: &mut [Self]) {
        wide::product(ProductKernel::chosen().of_vectors(), Operand::F32(rows), Operand::F32(columns), bias, output);
    }
}

/// Sums rows in order, in f32.
fn sum_rows<T: Value>(values: &[T], output: &mut [T]) {
    let width = output.len();
    output.par_chunks_mut(COLUMNS).enumerate().for_each(|(index, output)| {
        Arch::new().dispatch(SumRows { values: &values[index * COLUMNS..], width, output });
    });
}

/// Some columns of rows that begin `width` values apart.
struct SumRows<'a, T> {
    values: &'a [T],
    width: usize,
    output: &'a mut [T],
}

impl<T: Value> WithSimd for SumRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { values, width, output } = self;
        let mut sums = [0.0; COLUMNS];
        for row in values.chunks(width) {
            let mut wide = [0.0; COLUMNS];
            T::widen(&row[..output.len()], &mut wide[..output.len()]);
            for column in 0..COLUMNS {
                sums[column] += wide[column];
            }
        }
        T::narrow(&sums[..output.len()], output);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;
    use rand_mt::Mt;

    use super::sum_rows;

    proptest! {
        #[test]
        fn rows_are_summed(rows in 1..20_usize, width in 1..200_usize, seed: u32) {
            let mut rng = Mt::new(seed);
            let mut value = || bf16::from_f32(rng.next_u32() as f32 / u32::MAX as f32 - 0.5);
            let values: Vec<bf16> = (0..rows * width).map(|_| value()).collect();
            let mut sums = vec![bf16::NAN; width];
            sum_rows(&values, &mut sums);
            for (column, sum) in sums.into_iter().enumerate() {
                let expected: f32 = (0..rows).map(|row| values[row * width + column].to_f32()).sum();
                prop_assert_eq!(sum, bf16::from_f32(expected));
            }
        }
    }
}

//! Products of bfloat16 matrices on CPUs without a matrix unit: values are widened to f32 while they are packed, or
//! multiplied in pairs where the CPU does that; summed in f32, and rounded once.
//!
//! Libraries widen whole matrices first, or multiply value by value; these products take no longer than those in f32,
//! at half the memory.

mod avx2;
mod avx512;
mod blocks;
mod output;
mod pack;
mod product;
#[cfg(test)]
mod tests;
mod tile;
mod unit;

use super::Value;
use crate::ops::ProductKernel;

pub(super) use avx2::Avx2;
pub(super) use avx512::Avx512;
pub(super) use blocks::{Chunks, Panels};
pub(super) use pack::Operand;
pub(super) use unit::{Kernels, Line};

/// `output[i][j] = sum over k of rows[i][k] columns[j][k], + bias[j]`, by one of the kernels that [`is_there`].
pub(super) fn product<T: Value>(
    kernel: ProductKernel,
    rows: Operand<'_>,
    columns: Operand<'_>,
    bias: Option<&[f32]>,
    output: &mut [T],
) {
    let is_narrow = matches!(rows, Operand::Bf16(_));
    let product = product::Product::new(rows, columns, bias, output);
    match kernel {
        ProductKernel::Avx2 => product.run::<avx2::Avx2>(),
        ProductKernel::Avx512Bf16 if is_narrow => product.run::<avx512::pairs::Avx512Bf16>(),
        ProductKernel::Avx512 | ProductKernel::Avx512Bf16 => product.run::<avx512::Avx512>(),
        ProductKernel::Library | ProductKernel::MatrixUnit => unreachable!("invariant: a kernel of vectors"),
    }
}

/// Whether the CPU has what a kernel of this module wants.
pub(super) fn is_there(kernel: ProductKernel) -> bool {
    let has_avx2 =
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let has_avx512 = has_avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    match kernel {
        ProductKernel::Avx2 => has_avx2,
        ProductKernel::Avx512 => has_avx512,
        ProductKernel::Avx512Bf16 => has_avx512 && is_x86_feature_detected!("avx512bf16"),
        ProductKernel::Library | ProductKernel::MatrixUnit => false,
    }
}

//! Operations on memory that the CPU reaches, whichever backend holds it: row by row in one pass, and products. Values
//! are float32 or bfloat16; what is narrower is computed in f32 and rounded once.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
#[path = "no_amx.rs"]
mod amx;
#[cfg(feature = "flex")]
pub(super) mod attention;
mod backward;
#[cfg(target_arch = "x86_64")]
pub(super) mod convolution;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_convolution.rs"]
pub(super) mod convolution;
mod elementwise;
mod group_norm;
#[cfg(target_arch = "x86_64")]
mod matrix;
mod norm;
mod picture;
#[cfg(target_arch = "x86_64")]
pub(super) mod products;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_products.rs"]
pub(super) mod products;
mod rows;
#[cfg(target_arch = "x86_64")]
mod vectors;
#[cfg(target_arch = "x86_64")]
mod wide;

use burn::tensor::{DType, Element};
use half::bf16;

pub(super) use backward::gated_add_backward;
pub(super) use elementwise::{map, multiply};
pub(super) use group_norm::{group_norm, group_norm_backward};
pub(super) use norm::Norm;
pub(super) use picture::Picture;
#[cfg(feature = "flex")]
pub(super) use rows::TASK_VALUES;
pub(super) use rows::{gated_add, modulate, norm_rotate};

/// Values that are widened, and summed in f32, together.
const CHUNK: usize = 1024;

/// A tensor whose memory the kernels reach.
pub(super) trait HostTensor: Sized {
    fn dtype(&self) -> DType;
    fn shape(&self) -> Vec<usize>;
    /// The same values in order of the axes; copied only where they are not.
    fn contiguous(&self) -> Self;
    /// The values of a contiguous tensor of this type.
    fn values<T: Value>(&self) -> &[T];
    /// A new tensor, which `fill` writes every value of.
    fn filled<T: Value>(&self, dims: &[usize], fill: impl FnOnce(&mut [T])) -> Self;

    /// The sizes of as many axes as the operation has.
    fn dims<const D: usize>(&self) -> [usize; D] {
        self.shape().try_into().expect("invariant: the operation fixes the number of axes")
    }

    /// The values of a small tensor, in f32.
    fn to_f32(&self) -> Vec<f32> {
        let tensor = self.contiguous();
        match tensor.dtype() {
            DType::BF16 => tensor.values::<bf16>().iter().map(|&value| widened(value)).collect(),
            _ => tensor.values::<f32>().to_vec(),
        }
    }
}

/// What a value in memory is: kernels compute rows in f32, and go by way of a scratch row where memory holds another
/// type.
pub(super) trait Value: Element + bytemuck::Pod {
    /// A row of memory in f32; in `scratch` where it has to be widened.
    fn wide<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];
    /// Runs a kernel that writes a row.
    fn write(row: &mut [Self], scratch: &mut [f32], kernel: impl FnOnce(&mut [f32]));
    /// Copies values into f32.
    fn widen(values: &[Self], wide: &mut [f32]);
    /// Rounds values of f32 into memory.
    fn narrow(wide: &[f32], values: &mut [Self]);
}

impl Value for f32 {
    #[inline(always)]
    fn wide<'a>(row: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        row
    }

    #[inline(always)]
    fn write(row: &mut [Self], _: &mut [f32], kernel: impl FnOnce(&mut [f32])) {
        kernel(row);
    }

    #[inline(always)]
    fn widen(values: &[Self], wide: &mut [f32]) {
        wide.copy_from_slice(values);
    }

    #[inline(always)]
    fn narrow(wide: &[f32], values: &mut [Self]) {
        values.copy_from_slice(wide);
    }
}

impl Value for bf16 {
    #[inline(always)]
    fn wide<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        let wide = &mut scratch[..row.len()];
        Self::widen(row, wide);
        wide
    }

    #[inline(always)]
    fn write(row: &mut [Self], scratch: &mut [f32], kernel: impl FnOnce(&mut [f32])) {
        let wide = &mut scratch[..row.len()];
        kernel(wide);
        Self::narrow(wide, row);
    }

    #[inline(always)]
    fn widen(values: &[Self], wide: &mut [f32]) {
        for (wide, &value) in wide.iter_mut().zip(values) {
            *wide = widened(value);
        }
    }

    #[inline(always)]
    fn narrow(wide: &[f32], values: &mut [Self]) {
        for (value, &wide) in values.iter_mut().zip(wide) {
            *value = rounded(wide);
        }
    }
}

#[inline(always)]
fn widened(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

/// To the nearest, ties to even; without branches, so that rows are rounded by vector instructions.
#[inline(always)]
fn rounded(value: f32) -> bf16 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    bf16::from_bits(if value.is_nan() { bf16::NAN.to_bits() } else { nearest as u16 })
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::{rounded, widened};

    proptest! {
        #[test]
        fn bfloat16_rounds_to_the_nearest(bits: u32) {
            let value = f32::from_bits(bits);
            let (found, expected) = (rounded(value), bf16::from_f32(value));
            prop_assert!(found.is_nan() && expected.is_nan() || found.to_bits() == expected.to_bits());
            prop_assert!(found.is_nan() || widened(found).to_bits() == found.to_f32().to_bits());
        }
    }
}

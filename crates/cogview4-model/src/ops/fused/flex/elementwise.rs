//! Functions of single values of f32, in place where nobody else holds the tensor; and to and from bfloat16.

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::DType,
};
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::ops::fused::{
    host::{HostTensor, TASK_VALUES, Value},
    precision::cast,
};

/// Applies a function to every value.
pub(super) fn map(input: FlexTensor, function: impl Fn(f32) -> f32 + Copy + Sync) -> FlexTensor {
    let mut output = input.to_contiguous();
    drop(input);
    output.storage_mut().par_chunks_mut(TASK_VALUES).for_each(|values| {
        Arch::new().dispatch(Map { values, function });
    });
    output
}

struct Map<'a, F> {
    values: &'a mut [f32],
    function: F,
}

impl<F: Fn(f32) -> f32> WithSimd for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        self.values.iter_mut().for_each(|value| *value = (self.function)(*value));
    }
}

/// `grad * slope(input)`.
pub(super) fn multiply(input: &FlexTensor, grad: FlexTensor, slope: impl Fn(f32) -> f32 + Copy + Sync) -> FlexTensor {
    let input = input.contiguous();
    let input = input.values::<f32>();
    let mut output = grad.to_contiguous();
    drop(grad);
    output.storage_mut().par_chunks_mut(TASK_VALUES).zip(input.par_chunks(TASK_VALUES)).for_each(|(grad, input)| {
        Arch::new().dispatch(Multiply { grad, input, slope });
    });
    output
}

struct Multiply<'a, F> {
    grad: &'a mut [f32],
    input: &'a [f32],
    slope: F,
}

impl<F: Fn(f32) -> f32> WithSimd for Multiply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for (grad, &input) in self.grad.iter_mut().zip(self.input) {
            *grad *= (self.slope)(input);
        }
    }
}

/// In order of the axes, in f32.
pub(super) fn widened(input: FlexTensor) -> FlexTensor {
    let input = input.to_contiguous();
    match input.dtype() {
        DType::F32 => input,
        DType::BF16 => convert(&input, |values: &[bf16], output: &mut [f32]| {
            bf16::wide(values, output);
        }),
        _ => cast::<Flex>(input, DType::F32),
    }
}

/// From f32 to another type.
pub(super) fn narrowed(input: FlexTensor, dtype: DType) -> FlexTensor {
    match dtype {
        DType::BF16 => convert(&input, |values: &[f32], output: &mut [bf16]| {
            let mut wide = [0.0; TASK_VALUES];
            bf16::write(output, &mut wide, |row| row.copy_from_slice(values));
        }),
        _ => cast::<Flex>(input, dtype),
    }
}

fn convert<From: Value, To: Value>(input: &FlexTensor, kernel: impl Fn(&[From], &mut [To]) + Sync) -> FlexTensor {
    let values = input.values::<From>();
    input.filled(&input.shape(), |output: &mut [To]| {
        output.par_chunks_mut(TASK_VALUES).zip(values.par_chunks(TASK_VALUES)).for_each(|(output, values)| {
            Arch::new().dispatch(Convert { values, output, kernel: &kernel });
        });
    })
}

struct Convert<'a, From, To, K> {
    values: &'a [From],
    output: &'a mut [To],
    kernel: &'a K,
}

impl<From: Value, To: Value, K: Fn(&[From], &mut [To])> WithSimd for Convert<'_, From, To, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        (self.kernel)(self.values, self.output);
    }
}

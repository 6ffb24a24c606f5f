//! Functions of single values, in place where nobody else holds the tensor.

use burn::backend::flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::ops::fused::host::{HostTensor, TASK_VALUES};

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

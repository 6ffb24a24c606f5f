//! Functions of single values.

use burn::tensor::DType;
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    CHUNK, HostTensor, Value,
    rows::{TASK_VALUES, by_type},
};

/// Applies a function to every value.
pub(in crate::ops::fused) fn map<H: HostTensor>(input: &H, function: impl Fn(f32) -> f32 + Sync) -> H {
    by_type!(input, map_typed(input, function))
}

fn map_typed<H: HostTensor, T: Value>(input: &H, function: impl Fn(f32) -> f32 + Sync) -> H {
    combine::<_, T, 1>(
        [input],
        #[inline(always)]
        |[x]| function(x),
    )
}

/// `grad * slope(input)`.
pub(in crate::ops::fused) fn multiply<H: HostTensor>(input: &H, grad: &H, slope: impl Fn(f32) -> f32 + Sync) -> H {
    by_type!(input, multiply_typed(input, grad, slope))
}

fn multiply_typed<H: HostTensor, T: Value>(input: &H, grad: &H, slope: impl Fn(f32) -> f32 + Sync) -> H {
    combine::<_, T, 2>(
        [input, grad],
        #[inline(always)]
        |[x, grad]| grad * slope(x),
    )
}

fn combine<H: HostTensor, T: Value, const N: usize>(inputs: [&H; N], function: impl Fn([f32; N]) -> f32 + Sync) -> H {
    let inputs = inputs.map(H::contiguous);
    let values = inputs.each_ref().map(|input| input.values::<T>());
    inputs[0].filled(&inputs[0].shape(), |output: &mut [T]| {
        output.par_chunks_mut(TASK_VALUES).enumerate().for_each(|(task, output)| {
            let inputs = values.map(|values| &values[task * TASK_VALUES..][..output.len()]);
            Arch::new().dispatch(Combine { output, inputs, function: &function });
        });
    })
}

struct Combine<'a, T, F, const N: usize> {
    output: &'a mut [T],
    inputs: [&'a [T]; N],
    function: &'a F,
}

impl<T: Value, F: Fn([f32; N]) -> f32, const N: usize> WithSimd for Combine<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { output, inputs, function } = self;
        let (mut scratch, mut written) = ([[0.0; CHUNK]; N], [0.0; CHUNK]);
        for (index, output) in output.chunks_mut(CHUNK).enumerate() {
            let mut scratch = scratch.iter_mut();
            let inputs = inputs.map(
                #[inline(always)]
                |values| {
                    let scratch = scratch.next().expect("invariant: one for each input");
                    T::wide(&values[index * CHUNK..][..output.len()], scratch)
                },
            );
            T::write(
                output,
                &mut written,
                #[inline(always)]
                |output| {
                    for i in 0..output.len() {
                        output[i] = function(inputs.map(
                            #[inline(always)]
                            |input| input[i],
                        ));
                    }
                },
            );
        }
    }
}

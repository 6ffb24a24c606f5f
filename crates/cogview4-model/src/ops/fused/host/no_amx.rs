//! Where the matrix unit is never there.

use half::bf16;

use super::matrix::Matrix;

pub(super) const LEAST_WORK: usize = usize::MAX;

pub(super) fn is_there() -> bool {
    false
}

pub(super) fn product(_: Matrix<'_>, _: Matrix<'_>, _: Option<&[f32]>, _: &mut [bf16]) {
    unreachable!("invariant: the unit is there");
}

pub(super) mod convolution {
    use half::bf16;

    use crate::ops::fused::host::convolution::{ConvShape, Direction};

    pub(in super::super) fn scratch_bytes(_: ConvShape, _: usize) -> u64 {
        unreachable!("invariant: the unit is there")
    }

    pub(in super::super) fn convolve(_: &[bf16], _: (&[bf16], Direction), _: &[f32], _: ConvShape, _: &mut [bf16]) {
        unreachable!("invariant: the unit is there")
    }

    pub(in super::super) fn filter_gradients(_: [&[bf16]; 2], _: ConvShape, _: &mut [bf16]) {
        unreachable!("invariant: the unit is there")
    }
}

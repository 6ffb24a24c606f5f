//! Where a matrix unit is never there.

use half::bf16;

use super::{Head, Saved};

pub(super) const LEAST_WORK: usize = usize::MAX;

#[derive(Default)]
pub(in crate::ops::fused) struct Scratch;

impl Scratch {
    pub(in crate::ops::fused) fn forward(
        &mut self,
        _: Head<'_>,
        _: &[bf16],
        _: impl Fn(usize) -> usize,
        _: &mut [bf16],
        _: &mut [f32],
    ) {
        unreachable!("invariant: the unit is there")
    }
}

#[derive(Default)]
pub(in crate::ops::fused) struct Backward;

impl Backward {
    pub(in crate::ops::fused) fn run(
        &mut self,
        _: Head<'_>,
        _: Saved<'_>,
        _: impl Fn(usize) -> usize,
        _: [&mut [bf16]; 3],
    ) {
        unreachable!("invariant: the unit is there")
    }
}

pub(in crate::ops::fused) fn backward_bytes(_: [usize; 3]) -> u64 {
    unreachable!("invariant: the unit is there")
}

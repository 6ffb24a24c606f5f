//! Where a matrix unit is never there.

use burn::tensor::DType;
use half::bf16;

/// See the unit's.
#[derive(Clone, Copy)]
#[expect(dead_code, reason = "nothing reads it")]
pub(in crate::ops::fused) struct Head<'a> {
    pub(in crate::ops::fused) index: usize,
    pub(in crate::ops::fused) key: &'a [bf16],
    pub(in crate::ops::fused) value: &'a [bf16],
    pub(in crate::ops::fused) head_dim: usize,
    pub(in crate::ops::fused) scale: f32,
    pub(in crate::ops::fused) bias: Option<&'a [f32]>,
}

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

/// See the unit's.
#[derive(Clone, Copy)]
#[expect(dead_code, reason = "nothing reads it")]
pub(in crate::ops::fused) struct Saved<'a> {
    pub(in crate::ops::fused) grad: &'a [bf16],
    pub(in crate::ops::fused) query: &'a [bf16],
    pub(in crate::ops::fused) output: &'a [bf16],
    pub(in crate::ops::fused) logsumexp: &'a [f32],
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

pub(in crate::ops::fused) fn is_on_unit(_: DType, _: [usize; 3]) -> bool {
    false
}

//! Attention in bfloat16 where the CPU has a matrix unit.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_attention.rs"]
mod unit;

use burn::tensor::DType;
use half::bf16;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx::attention as unit;
use crate::ops::ProductKernel;

pub(in crate::ops::fused) use unit::{Backward, Scratch, backward_bytes};

/// A head's keys and values, and what is done with its queries.
#[derive(Clone, Copy)]
#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), expect(dead_code, reason = "nothing reads it"))]
pub(in crate::ops::fused) struct Head<'a> {
    /// Which keys these are: what is packed is kept for the same.
    pub(in crate::ops::fused) index: usize,
    /// `[keys, head_dim]`.
    pub(in crate::ops::fused) key: &'a [bf16],
    pub(in crate::ops::fused) value: &'a [bf16],
    pub(in crate::ops::fused) head_dim: usize,
    pub(in crate::ops::fused) scale: f32,
    /// Added to the scores, for each key.
    pub(in crate::ops::fused) bias: Option<&'a [f32]>,
}

/// What the forward left of a head, `[rows, head_dim]` each, and the gradient of its output.
#[derive(Clone, Copy)]
#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), expect(dead_code, reason = "nothing reads it"))]
pub(in crate::ops::fused) struct Saved<'a> {
    pub(in crate::ops::fused) grad: &'a [bf16],
    pub(in crate::ops::fused) query: &'a [bf16],
    pub(in crate::ops::fused) output: &'a [bf16],
    pub(in crate::ops::fused) logsumexp: &'a [f32],
}

/// Whether the unit serves heads of this type, with so many queries, keys and values in each.
pub(in crate::ops::fused) fn is_on_unit(dtype: DType, [queries, keys, head_dim]: [usize; 3]) -> bool {
    dtype == DType::BF16
        && ProductKernel::chosen() == ProductKernel::MatrixUnit
        && queries * keys * head_dim >= unit::LEAST_WORK
}

//! Attention in bfloat16 where the CPU has a matrix unit.

use burn::tensor::DType;

use super::amx;
use crate::ops::ProductKernel;

pub(in crate::ops::fused) use amx::attention::{Backward, Head, Saved, Scratch, backward_bytes};

/// Whether the unit serves heads of this type, with so many queries, keys and values in each.
pub(in crate::ops::fused) fn is_on_unit(dtype: DType, [queries, keys, head_dim]: [usize; 3]) -> bool {
    dtype == DType::BF16
        && ProductKernel::chosen() == ProductKernel::MatrixUnit
        && queries * keys * head_dim >= amx::LEAST_WORK
}

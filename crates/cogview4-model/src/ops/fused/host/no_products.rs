//! Where no kernel is there.

use burn::tensor::DType;

use super::HostTensor;
use crate::ops::QuantizedMatrix;

pub(in crate::ops::fused) fn linear<H: HostTensor>(_: &H, _: &H, _: &H) -> Option<H> {
    None
}

pub(in crate::ops::fused) fn linear_backward<H: HostTensor>(_: &H, _: &H, _: &H) -> Option<(H, H, H)> {
    None
}

pub(in crate::ops::fused) fn is_served(_: DType) -> bool {
    false
}

pub(in crate::ops::fused) fn quantized_linear<H: HostTensor>(_: &H, _: &QuantizedMatrix, _: &H) -> H {
    unreachable!("invariant: no kernel serves")
}

pub(in crate::ops::fused) fn serves_quantized(_: DType) -> bool {
    false
}

/// Whether the CPU multiplies bfloat16. Where it does not, libraries do so value by value, and f32 is faster.
#[cfg(feature = "libtorch")]
pub(in crate::ops::fused) fn has_bf16() -> bool {
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(target_arch = "aarch64"))]
    return false;
}

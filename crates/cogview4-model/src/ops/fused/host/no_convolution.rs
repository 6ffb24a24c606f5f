//! Convolutions where no kernel of ours is: the library's.

use burn::tensor::DType;

use super::HostTensor;

#[path = "convolution/shape.rs"]
mod shape;

pub(in crate::ops::fused) use shape::ConvShape;

pub(in crate::ops::fused) fn serves(_: DType, _: usize, _: usize, _: bool) -> bool {
    false
}

pub(in crate::ops::fused) fn scratch_bytes(_: DType, _: ConvShape, _: usize) -> u64 {
    unreachable!("invariant: not served")
}

pub(in crate::ops::fused) fn conv2d<H: HostTensor>(_: &H, _: &H, _: &H, _: usize, _: usize) -> H {
    unreachable!("invariant: not served")
}

pub(in crate::ops::fused) fn conv2d_backward<H: HostTensor>(_: &H, _: &H, _: &H) -> [H; 3] {
    unreachable!("invariant: not served")
}

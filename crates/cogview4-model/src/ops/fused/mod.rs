//! Operations as one pass over memory, on backends whose memory we reach. Each file has a trait of operations: what
//! backends bring, and how it is recorded on the graph.
//!
//! Attention, GELU and linear layers are served on every backend. The others give `None` where the backend has no such
//! kernel; the caller then composes the operation from Burn's. A kernel changes how fast something is computed, never
//! what.

#![cfg_attr(feature = "libtorch", allow(deprecated, reason = "see `DeviceSpec`"))]

mod attention;
mod autodiff;
#[cfg(feature = "libtorch")]
mod borrowed;
#[cfg(any(feature = "flex", feature = "libtorch"))]
#[macro_use]
mod host;
#[cfg(feature = "flex")]
mod flex;
mod gelu;
#[cfg(feature = "libtorch")]
mod libtorch;
mod linear;
mod picture;
mod precision;
mod quantized;
mod rows;
#[cfg(any(feature = "flex", feature = "libtorch"))]
mod simd;

#[cfg(feature = "libtorch")]
use burn::tensor::AllocationProperty;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::device::{is_flex, is_libtorch};

pub(super) use attention::attention;
pub(super) use gelu::gelu_tanh;
#[cfg(all(target_arch = "x86_64", any(feature = "flex", feature = "libtorch")))]
pub(super) use host::products::has_kernel;
pub(super) use linear::{adds_bias, linear};
pub(super) use picture::{conv2d, group_norm};
pub(super) use precision::wide;
pub(super) use quantized::{quantized_linear, serves_quantized};
pub(super) use rows::{gated_add, modulate, norm_rotate, silu};

/// Whether the attention takes keys and values that several queries share.
pub(super) fn shares_heads(query: &Tensor<4>) -> bool {
    is_flex(&query.device()) && query.dtype() != DType::F64 && !query.device().is_autodiff()
}

/// Whether the device's tensors are in memory that our kernels, or libtorch's for its CPU, work on.
pub(super) fn reaches_memory(device: &Device) -> bool {
    is_flex(device) || is_libtorch(device)
}

/// Floating-point values as a tensor. Those that lie where they may stay, such as in the map of a file, are not copied
/// where the backend computes on the host's memory. The device is not one that records gradients.
pub(crate) fn tensor_of<const D: usize>(data: TensorData, device: &Device) -> Tensor<D> {
    #[cfg(feature = "libtorch")]
    if is_libtorch(device) && data.bytes().property() == AllocationProperty::File {
        return borrowed::borrowed(data, device);
    }
    let dtype = data.dtype();
    // flex takes the memory over as it is.
    Tensor::from_data(data, (device, dtype))
}

/// Gives memory back that no tensor borrows any more, where that has to be looked for.
pub(crate) fn forget_returned() {
    #[cfg(feature = "libtorch")]
    borrowed::forget_returned();
}

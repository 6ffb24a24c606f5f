//! Operations as one pass over memory, on backends whose memory we reach. Each file has a trait of operations: what
//! backends bring, and how it is recorded on the graph.
//!
//! Attention, GELU and linear layers are served on every backend. The others give `None` where the backend has no such
//! kernel; the caller then composes the operation from Burn's. A kernel changes how fast something is computed, never
//! what.

#![cfg_attr(feature = "libtorch", allow(deprecated, reason = "see `DeviceSpec`"))]

mod attention;
mod autodiff;
#[cfg(feature = "flex")]
mod flex;
mod gelu;
#[cfg(any(feature = "flex", feature = "libtorch"))]
mod host;
#[cfg(feature = "libtorch")]
mod libtorch;
mod linear;
mod picture;
mod precision;
mod quantized;
mod rows;
#[cfg(any(feature = "flex", feature = "libtorch"))]
mod simd;

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "libtorch")]
use burn::tensor::AllocationProperty;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::device::{is_flex, is_libtorch, is_libtorch_cpu};

pub(super) use attention::attention;
pub(crate) use attention::attention_scratch;
pub(super) use gelu::gelu_tanh;
#[cfg(all(target_arch = "x86_64", any(feature = "flex", feature = "libtorch")))]
pub(super) use host::products::has_kernel;
pub(super) use linear::{adds_bias, linear};
pub(crate) use picture::conv2d_scratch;
pub(super) use picture::{conv2d, group_norm};
pub(super) use precision::wide;
pub(super) use quantized::{quantized_linear, serves_quantized};
pub(super) use rows::{gated_add, modulate, norm_rotate, silu};

/// Whether the attention takes keys and values that several queries share.
pub(super) fn shares_heads(query: &Tensor<4>) -> bool {
    is_flex(&query.device()) && query.dtype() != DType::F64 && !query.device().is_autodiff()
}

/// Whether the attention of a device that records nothing is ours: of libtorch too, whose own takes a mask for what is
/// seen and which Burn hands one of what is hidden.
pub(super) fn serves_attention(device: &Device) -> bool {
    is_flex(device) || is_libtorch(device)
}

/// Whether our kernels compute with this tensor: they reach its values, and are of that type.
fn serves_values<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device();
    let reaches = is_flex(&device) || is_libtorch_cpu(&device) && has_host_kernels();
    reaches && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

/// Whether our kernels are taken on libtorch's CPU.
static HOST_KERNELS: AtomicBool = AtomicBool::new(true);

/// Lets this process take libtorch's own operations on its CPU, as on its other devices, or our kernels again: for
/// measurements and tests of what is called there.
pub fn set_host_kernels(are_taken: bool) {
    HOST_KERNELS.store(are_taken, Ordering::Relaxed);
}

fn has_host_kernels() -> bool {
    HOST_KERNELS.load(Ordering::Relaxed)
}

/// Floating-point values as a tensor. Those that lie where they may stay, such as in the map of a file, are not copied
/// where the backend computes on the host's memory. The device is not one that records gradients.
pub(crate) fn tensor_of<const D: usize>(data: TensorData, device: &Device) -> Tensor<D> {
    #[cfg(feature = "libtorch")]
    if is_libtorch_cpu(device) && data.bytes().property() == AllocationProperty::File {
        return libtorch::borrowed(data, device);
    }
    let dtype = data.dtype();
    // flex takes the memory over as it is.
    Tensor::from_data(data, (device, dtype))
}

/// Gives memory back that no tensor borrows any more, where that has to be looked for.
pub(crate) fn forget_returned() {
    #[cfg(feature = "libtorch")]
    libtorch::forget_returned();
}

//! Operations that the models share, each in one place so that a backend's better way has one place to go.

mod activation;
mod attention;
mod fused;
mod linear;
mod norm;
mod picture;
mod products;
mod quantized;
mod rotary;
#[cfg(test)]
mod tests;

pub use activation::{gelu_tanh, silu};
pub use attention::{AttentionMask, attention};
pub use fused::set_host_kernels;
pub(crate) use fused::{attention_scratch, conv2d_scratch, forget_returned, tensor_of};
pub use linear::linear;
pub use norm::{gated_add, modulate};
pub use picture::{GroupNormOptions, conv2d, group_norm};
pub use products::ProductKernel;
pub use quantized::{BLOCK_VALUES, QuantizedMatrix, SharedBytes, quantized_linear};
pub use rotary::{RotaryTable, norm_rotate, rotate_pairs};

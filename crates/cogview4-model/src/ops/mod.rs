//! Operations that the models share, each in one place so that a backend's better way has one place to go.

mod activation;
mod attention;
mod fused;
mod linear;
mod norm;
mod picture;
mod products;
mod rotary;
#[cfg(test)]
mod tests;

/// Values of a row of a weight in 8 bits that share a scale.
pub(crate) const BLOCK_VALUES: usize = 32;

pub use activation::{gelu_tanh, silu};
pub use attention::{AttentionMask, attention};
pub use linear::linear;
pub use norm::{gated_add, modulate};
pub use picture::{conv2d, group_norm};
pub use products::ProductKernel;
pub use rotary::{RotaryTable, norm_rotate, rotate_pairs};

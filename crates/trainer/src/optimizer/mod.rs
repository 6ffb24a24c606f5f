//! The optimiser: `optimizer.step(number, learning_rate, model, gradients) -> model`, whatever is trained and however
//! its state is kept.

mod adamw;
mod gradients;
mod rounding;
mod state;
#[cfg(test)]
mod tests;

pub use adamw::{AdamW, AdamWConfig};
pub use gradients::Gradients;
pub(crate) use gradients::Norms;
pub use state::{StateOptions, StatePlace};

pub(crate) use state::{BLOCK, MOMENTS, SCALES, StoredMoment};

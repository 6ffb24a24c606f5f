//! The optimiser: `optimizer.step(number, learning_rate, model, gradients) -> model`, whatever is trained and wherever
//! its moments live.

mod adamw;
mod gradients;
mod moments;
#[cfg(test)]
mod tests;

pub use adamw::{AdamW, AdamWConfig};
pub use gradients::Gradients;
pub use moments::{MomentStore, MomentsInMemory};

pub(crate) use moments::MOMENTS;

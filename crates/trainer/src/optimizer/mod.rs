//! The optimiser: `optimizer.step(number, learning_rate, model, gradients) -> model`, whatever is trained and however
//! its state is kept.

mod adamw;
mod buffers;
mod gradient_memory;
mod gradients;
mod memory;
mod rounding;
mod state;
mod stored;
#[cfg(test)]
mod tests;

pub use adamw::{AdamW, AdamWConfig};
pub(crate) use gradient_memory::GradientMemory;
pub use gradients::Gradients;
pub(crate) use gradients::Norms;
pub use memory::StatePlace;
pub use state::StateOptions;

pub(crate) use gradients::CHUNK;
pub(crate) use state::{BLOCK, MOMENTS, SCALES, StoredMoment};
pub(crate) use stored::{Layout, Slice};

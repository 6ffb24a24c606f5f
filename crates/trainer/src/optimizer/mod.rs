//! The optimiser: `optimizer.step(number, learning_rate, model, gradients) -> model`, whatever is trained and however
//! its state is kept.

mod adamw;
mod buffers;
mod change;
#[cfg(test)]
mod device_tests;
mod finite;
mod gradient_memory;
mod gradients;
mod memory;
mod partition;
mod rounding;
mod scalars;
mod state;
mod stored;
mod sum;
#[cfg(test)]
mod tests;

pub use adamw::{AdamW, AdamWConfig};
pub(crate) use gradient_memory::GradientMemory;
pub use gradients::Gradients;
pub use memory::StatePlace;
pub(crate) use partition::{Partition, Piece, Unit, block_index, block_prefix};
pub use state::StateOptions;

pub(crate) use finite::AllFinite;
pub(crate) use gradients::CHUNK;
pub(crate) use state::{BLOCK, MOMENTS, SCALES, StoredMoment};
pub(crate) use stored::{Layout, Slice};
pub(crate) use sum::Norms;

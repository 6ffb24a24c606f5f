//! What the models hold while they compute, beside their weights, and how much they compute: from their sizes alone, to
//! say before a run whether it will fit and how long it will take. Each part counts the tensors that are alive together
//! at its fullest moments, as its `forward` makes and drops them; `tests/activations.rs` holds the counts against what
//! the process is seen to hold.
//!
//! The counts are of the pure-Rust CPU.

mod ops;
mod text_encoder;
mod training;
mod transformer;
mod vae;

use crate::ComputeDtype;

pub use training::{KeptGradients, Recompute};
pub use transformer::SequenceLengths;

/// What decides how much an operation holds, beside its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivationSettings {
    /// The type of weights and activations.
    pub dtype: ComputeDtype,
    /// Threads that compute; each has buffers of its own.
    pub threads: usize,
}

impl ActivationSettings {
    /// For the threads of this process.
    pub fn new(dtype: ComputeDtype) -> Self {
        Self { dtype, threads: rayon::current_num_threads() }
    }

    /// Bytes of a value.
    fn size(self) -> u64 {
        self.dtype.dtype().size() as u64
    }

    /// Whether nothing has to be widened.
    fn is_wide(self) -> bool {
        self.dtype == ComputeDtype::Float32
    }
}

/// What a computation needs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// The most bytes that are held at a time, inputs and outputs included.
    pub bytes: u64,
    /// Floating-point operations, a multiplication and an addition being two; those of products and convolutions only.
    pub flops: f64,
}

impl Cost {
    /// One after the other.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self { bytes: self.bytes.max(next.bytes), flops: self.flops + next.flops }
    }
}

/// The most of several moments.
fn most<const N: usize>(moments: [u64; N]) -> u64 {
    moments.into_iter().max().unwrap_or_default()
}

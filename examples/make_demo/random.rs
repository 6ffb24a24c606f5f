//! Draws that decide what a training row is.

use rand_chacha::{ChaCha8Rng, rand_core::RngCore};

/// A number in `[0, 1)`.
pub(crate) fn uniform(random: &mut ChaCha8Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// True in this part of the draws.
pub(crate) fn chance(random: &mut ChaCha8Rng, part: f32) -> bool {
    uniform(random) < part
}

/// One of them.
pub(crate) fn pick<'a, T>(random: &mut ChaCha8Rng, from: &'a [T]) -> &'a T {
    &from[(uniform(random) * from.len() as f32) as usize]
}

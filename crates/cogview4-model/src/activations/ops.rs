//! What operations hold.

use super::{ActivationSettings, Cost};
use crate::ops::conv2d_scratch;

/// Bytes of a value in f32.
pub(super) const F32: u64 = 4;
/// Rows of queries that a thread of the attention works on at a time.
const QUERY_ROWS: u64 = 128;
/// Pixels that a thread of a convolution works on at a time.
const CONV_PIXELS: u64 = 512;
/// Such parts that a thread has begun: while it waits for others within one, it begins another.
const CONV_PARTS: u64 = 2;

/// Attention, from query, key and value of so many values each to the output. The values' heads are brought to the
/// front by a copy. What is narrower than f32 is widened a block at a time, which counts as little as keys and values of
/// one head.
pub(super) fn attention(settings: ActivationSettings, [query, key]: [u64; 2], seq_key: u64) -> u64 {
    let scores = settings.threads as u64 * QUERY_ROWS * seq_key * F32;
    settings.size() * (2 * query + 2 * key) + scores
}

/// A convolution between so many channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conv {
    pub(super) channels: [u64; 2],
    /// Height and width of the input.
    pub(super) size: [usize; 2],
    pub(super) kernel: u64,
    pub(super) stride: u64,
}

impl Conv {
    pub(super) fn input(self) -> u64 {
        self.channels[0] * pixels(self.size)
    }

    pub(super) fn output(self) -> u64 {
        self.channels[1] * self.pixels()
    }

    /// Of the output.
    fn pixels(self) -> u64 {
        pixels(self.size) / (self.stride * self.stride)
    }

    fn weight(self) -> u64 {
        self.channels[0] * self.channels[1] * self.kernel * self.kernel
    }

    /// Input and output included.
    pub(super) fn cost(self, settings: ActivationSettings) -> Cost {
        let flops = 2.0 * self.weight() as f64 * self.pixels() as f64;
        let [channels, taps] = [self.channels, [self.kernel, self.stride]].map(|pair| pair.map(|count| count as usize));
        let scratch = conv2d_scratch(settings.dtype.dtype(), channels, self.size, taps, settings.threads);
        let bytes = scratch.map(|scratch| settings.size() * (self.input() + self.output()) + scratch);
        Cost { bytes: bytes.unwrap_or_else(|| self.library(settings)), flops }
    }

    /// Bytes of a convolution of Burn's, input and output included. Computed in f32 from a copy of the input with the
    /// channels last and one of the weight in that order; each thread has the patches of some pixels.
    fn library(self, settings: ActivationSettings) -> u64 {
        let (input, output, weight) = (self.input(), self.output(), self.weight());
        let depth = weight / self.channels[1];
        let parts = CONV_PARTS * settings.threads as u64 * CONV_PIXELS.min(self.pixels()) * (depth + self.channels[1]);
        // The other order of channels is not needed for single pixels.
        let ordered = if self.kernel == 1 { output } else { input + output + weight + parts };
        let widened = if settings.is_wide() { 0 } else { F32 * (input + weight) };
        let bytes = settings.size() * input + widened + F32 * ordered;
        let rounded = if settings.is_wide() { 0 } else { settings.size() * input + (F32 + settings.size()) * output };
        bytes.max(rounded)
    }
}

/// Pixels of a picture of this height and width.
pub(super) fn pixels([height, width]: [usize; 2]) -> u64 {
    (height * width) as u64
}

/// A group norm with the activation behind it, from a picture of so many values to the next, both included.
pub(super) fn norm_silu(settings: ActivationSettings, values: u64) -> u64 {
    2 * settings.size() * values
}

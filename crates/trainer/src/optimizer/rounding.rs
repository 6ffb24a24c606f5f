//! Rounding to bfloat16 at random, so that what is too small to be seen in one step adds up over many.

use cogview4_data::{Draws, Stream};
use half::bf16;

/// Bits of an f32 that bfloat16 does not have.
const LOW_BITS: u32 = 16;
/// Numbers for rounding in one drawn word.
const NUMBERS: u32 = u64::BITS / LOW_BITS;

/// Random numbers of 16 bits.
#[derive(Debug)]
pub(super) struct RandomBits {
    draws: Draws,
    word: u64,
    left: u32,
}

impl RandomBits {
    /// Those of a chunk of a parameter in a step.
    pub(super) fn of_chunk(seed: u64, step: usize, key: &str, chunk: usize) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(step as u64).to_le_bytes()).update(&(chunk as u64).to_le_bytes()).update(key.as_bytes());
        let index = hasher.finalize().as_bytes()[..8].try_into().expect("invariant: there are 32");
        Self { draws: Draws::new(seed, Stream::Rounding, u64::from_le_bytes(index)), word: 0, left: 0 }
    }

    fn next(&mut self) -> u32 {
        if self.left == 0 {
            (self.word, self.left) = (self.draws.word(), NUMBERS);
        }
        let number = self.word as u32 & 0xffff;
        (self.word, self.left) = (self.word >> LOW_BITS, self.left - 1);
        number
    }
}

/// Rounds to one of the two neighbours, to the farther one from zero as often as the value is part of the way there.
pub(super) fn round(value: f32, bits: &mut RandomBits) -> bf16 {
    let number = bits.next();
    match value.is_finite() {
        true => bf16::from_bits((value.to_bits().wrapping_add(number) >> LOW_BITS) as u16),
        false => bf16::from_f32(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_has_no_bias() {
        let mut bits = RandomBits::of_chunk(3, 1, "p", 0);
        for (value, lower, upper) in [(1.001_f32, 1.0, 1.007_812_5), (-0.3, -0.300_781_25, -0.298_828_12)] {
            let count = 1_000_000;
            let mut sum = 0.0;
            for _ in 0..count {
                let rounded = round(value, &mut bits).to_f32();
                assert!(rounded == lower || rounded == upper, "{value}: {rounded}");
                sum += f64::from(rounded);
            }
            let (mean, spread) = (sum / f64::from(count), f64::from(upper - lower));
            // Four standard deviations of a mean.
            let allowed = 4.0 * 0.5 * spread / f64::from(count).sqrt();
            assert!((mean - f64::from(value)).abs() < allowed, "{value}: {mean}");
        }
    }

    #[test]
    fn what_fits_is_kept() {
        let mut bits = RandomBits::of_chunk(3, 1, "p", 1);
        for value in [0.0, -0.0, 1.0, -2.5, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(round(value, &mut bits).to_f32().to_bits(), value.to_bits());
        }
        assert!(round(f32::NAN, &mut bits).is_nan());
    }
}

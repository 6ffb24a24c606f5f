//! Rounding to bfloat16 at random, so that what is too small to be seen in one step adds up over many.

use cogview4_data::{Draws, Stream};
use half::bf16;
use pulp::Arch;

/// Bits of an f32 that bfloat16 does not have.
const LOW_BITS: u32 = 16;
/// Numbers for rounding in one drawn word.
const NUMBERS: usize = (u64::BITS / LOW_BITS) as usize;
/// Values that are rounded together.
const PART: usize = 256;

/// Random numbers for a chunk of a parameter in a step.
#[derive(Debug)]
pub(super) struct RandomBits(Draws);

impl RandomBits {
    pub(super) fn of_chunk(seed: u64, step: usize, key: &str, chunk: usize) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(step as u64).to_le_bytes()).update(&(chunk as u64).to_le_bytes()).update(key.as_bytes());
        let index = hasher.finalize().as_bytes()[..8].try_into().expect("invariant: there are 32");
        Self(Draws::new(seed, Stream::Rounding, u64::from_le_bytes(index)))
    }

    /// Rounds each value to one of its two neighbours, to the farther one from zero as often as it is part of the way
    /// there. Can be done once.
    pub(super) fn round(&mut self, values: &[f32], narrow: &mut [bf16]) {
        let mut numbers = [0; PART];
        for (narrow, values) in narrow.chunks_mut(PART).zip(values.chunks(PART)) {
            for numbers in numbers.chunks_mut(NUMBERS).take(values.len().div_ceil(NUMBERS)) {
                let word = self.0.word();
                (0..).zip(numbers).for_each(|(index, number)| *number = (word >> (LOW_BITS * index)) as u16);
            }
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for ((narrow, value), number) in narrow.iter_mut().zip(values).zip(&numbers) {
                        let moved = value.to_bits().wrapping_add(u32::from(*number));
                        // What is not finite stays what it is.
                        let bits = if value.is_finite() { moved } else { bf16::from_f32(*value).to_f32().to_bits() };
                        *narrow = bf16::from_bits((bits >> LOW_BITS) as u16);
                    }
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_has_no_bias() {
        let mut bits = RandomBits::of_chunk(3, 1, "p", 0);
        for (value, lower, upper) in [(1.001_f32, 1.0, 1.007_812_5), (-0.3, -0.300_781_25, -0.298_828_12)] {
            let mut narrow = vec![bf16::ZERO; 1_000_000];
            bits.round(&vec![value; narrow.len()], &mut narrow);
            let mut sum = 0.0;
            for rounded in narrow.iter().map(|rounded| rounded.to_f32()) {
                assert!(rounded == lower || rounded == upper, "{value}: {rounded}");
                sum += f64::from(rounded);
            }
            let (mean, spread) = (sum / narrow.len() as f64, f64::from(upper - lower));
            // Four standard deviations of a mean.
            let allowed = 4.0 * 0.5 * spread / (narrow.len() as f64).sqrt();
            assert!((mean - f64::from(value)).abs() < allowed, "{value}: {mean}");
        }
    }

    #[test]
    fn what_fits_is_kept() {
        let mut bits = RandomBits::of_chunk(3, 1, "p", 1);
        let values = [0.0, -0.0, 1.0, -2.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let mut narrow = [bf16::ZERO; 7];
        bits.round(&values, &mut narrow);
        for (narrow, value) in narrow.iter().zip(&values[..6]) {
            assert_eq!(narrow.to_f32().to_bits(), value.to_bits());
        }
        assert!(narrow[6].is_nan());
    }
}

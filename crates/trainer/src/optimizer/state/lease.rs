//! Chunks of values that are kept in one way or another, lent as f32 while they change.

use half::bf16;

use super::codes::Codes;
use crate::optimizer::rounding::{RandomBits, round};

/// A chunk of a parameter, or of a moment of it.
pub(crate) enum Lease<'a> {
    /// Values that are f32.
    Full(&'a mut [f32]),
    /// Moments in 8 bits.
    Codes(Codes<'a>),
    /// A parameter with its master, which it follows.
    Mastered { master: &'a mut [f32], narrow: &'a mut [bf16] },
    /// A parameter that is rounded at random.
    Rounded { narrow: &'a mut [bf16], bits: Box<RandomBits> },
}

impl Lease<'_> {
    /// Changes the values.
    pub(crate) fn with<R>(self, work: impl FnOnce(&mut [f32]) -> R) -> R {
        match self {
            Self::Full(values) => work(values),
            Self::Codes(mut codes) => {
                let mut values = codes.read();
                let result = work(&mut values);
                codes.write(&values);
                result
            }
            Self::Mastered { master, narrow } => {
                let result = work(master);
                narrow.iter_mut().zip(master).for_each(|(narrow, value)| *narrow = bf16::from_f32(*value));
                result
            }
            Self::Rounded { narrow, mut bits } => {
                let mut values: Vec<f32> = narrow.iter().map(|value| value.to_f32()).collect();
                let result = work(&mut values);
                narrow.iter_mut().zip(values).for_each(|(narrow, value)| *narrow = round(value, &mut bits));
                result
            }
        }
    }
}

//! Random numbers of training. Every draw is a pure function of (seed, stream, index), so that it does not depend on
//! workers, devices, world size or restarts: a generator is made anew for each.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

/// What a draw is for; draws for different things never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// The order of an epoch; indexed by epoch.
    Order = 1,
    /// Which of a row's captions an epoch uses; indexed by epoch and row.
    Caption,
    /// Whether a sample loses its caption; this and all below are indexed by sample.
    CaptionDropout,
    /// The timestep of a sample.
    Timestep,
    /// The noise of a sample.
    Noise,
    /// The draw from the posterior of a sample's picture.
    ImageLatents,
    /// The draw from the posterior of a sample's control image.
    ControlLatents,
    /// The noise of a probe, which is measured on and not trained; indexed by probe.
    Probe,
    /// Rounding of weights; indexed by a hash of step, key and place.
    Rounding,
}

/// The random numbers of one (seed, stream, index).
///
/// ```
/// use cogview4_data::{Draws, Stream};
///
/// let draw = || Draws::new(7, Stream::Noise, 12).normals(3);
/// assert_eq!(draw(), draw());
/// ```
#[derive(Debug, Clone)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// The generator of one index of one stream.
    pub fn new(seed: u64, stream: Stream, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(stream as u64).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0, 1), with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `0..bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "something to draw from");
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Standard normal numbers (Box and Muller).
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
            values.extend([(radius * cos) as f32, (radius * sin) as f32]);
        }
        values.truncate(count);
        values
    }
}

/// The order in which an epoch goes through `rows` rows.
pub fn permutation(seed: u64, epoch: u64, rows: usize) -> Vec<usize> {
    let mut draws = Draws::new(seed, Stream::Order, epoch);
    let mut order: Vec<usize> = (0..rows).collect();
    for end in (1..rows).rev() {
        order.swap(end, draws.below(end + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_holds_every_row_once_and_differs_by_epoch() {
        let (first, second) = (permutation(1, 0, 1000), permutation(1, 1, 1000));
        assert_ne!(first, second);
        assert_eq!(first, permutation(1, 0, 1000));
        for mut order in [first, second] {
            order.sort_unstable();
            assert!(order.into_iter().eq(0..1000));
        }
    }

    #[test]
    fn normals_have_mean_0_and_variance_1_whatever_the_index() {
        let values: Vec<f32> = (0..1000).flat_map(|i| Draws::new(3, Stream::Noise, i).normals(33)).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert_ne!(Draws::new(3, Stream::Noise, 0).normals(4), Draws::new(3, Stream::Timestep, 0).normals(4));
    }
}

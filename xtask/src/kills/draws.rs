//! Random numbers of an attempt.

/// SplitMix64, begun by a seed and the number of an attempt: what one attempt draws changes no other.
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64, attempt: usize) -> Self {
        let mut draws = Self(seed);
        draws.0 = draws.next() ^ attempt as u64;
        draws.0 = draws.next();
        draws
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1, 1 not included.
    pub(super) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub(super) fn coin(&mut self, probability: f64) -> bool {
        self.part() < probability
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.part() * end as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_draw_alike_each_time_and_unlike_one_another() {
        let first = |seed, attempt| Draws::new(seed, attempt).next();
        assert_eq!(first(1, 2), first(1, 2));
        let mut all: Vec<_> = (0..100).map(|number| first(number / 10, number as usize % 10)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100);
        let mut draws = Draws::new(0, 0);
        let drawn: Vec<_> = (0..1000).map(|_| draws.below(5)).collect();
        assert!((0..5).all(|number| drawn.iter().filter(|&&found| found == number).count() > 150));
        assert!(!drawn.contains(&5) && draws.coin(1.0) && !draws.coin(0.0));
    }
}

//! Which rows each step takes: a pure function of seed and step.

use cogview4_data::permutation;

/// One sample of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Number of samples before it since the run began.
    pub index: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Its row of the data set.
    pub row: usize,
}

/// The order of a run: which samples each step takes.
#[derive(Debug, Clone)]
pub(crate) struct SampleOrder {
    pub seed: u64,
    pub rows: usize,
    /// Samples of a full step.
    pub samples_per_step: usize,
    /// The order of the epoch that was asked for last.
    order: Option<(u64, Vec<usize>)>,
}

impl SampleOrder {
    pub(crate) fn new(seed: u64, rows: usize, samples_per_step: usize) -> Self {
        Self { seed, rows, samples_per_step, order: None }
    }

    /// Steps of an epoch; the last may be short.
    pub(crate) fn steps_per_epoch(&self) -> usize {
        self.rows.div_ceil(self.samples_per_step)
    }

    /// Samples that are taken before a step.
    pub(crate) fn samples_before(&self, step: usize) -> u64 {
        let (epoch, step) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        (epoch * self.rows + step * self.samples_per_step) as u64
    }

    /// The samples of a step.
    pub(crate) fn step(&mut self, step: usize) -> Vec<Sample> {
        let epoch = (step / self.steps_per_epoch()) as u64;
        if self.order.as_ref().is_none_or(|(of_epoch, _)| *of_epoch != epoch) {
            self.order = Some((epoch, permutation(self.seed, epoch, self.rows)));
        }
        let first = self.samples_before(step);
        let begin = step % self.steps_per_epoch() * self.samples_per_step;
        let end = (begin + self.samples_per_step).min(self.rows);
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let sample = |position: usize| Sample { index: first + (position - begin) as u64, epoch, row: order[position] };
        (begin..end).map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_takes_every_row_once() {
        let mut order = SampleOrder::new(5, 23, 4);
        assert_eq!(order.steps_per_epoch(), 6);
        for epoch in 0..3 {
            let samples: Vec<Sample> = (0..6).flat_map(|step| order.step(epoch * 6 + step)).collect();
            let mut rows: Vec<usize> = samples.iter().map(|sample| sample.row).collect();
            rows.sort_unstable();
            assert!(rows.into_iter().eq(0..23));
            assert!(samples.iter().map(|sample| sample.index).eq(epoch as u64 * 23..(epoch as u64 + 1) * 23));
        }
        assert_eq!(order.step(3), SampleOrder::new(5, 23, 4).step(3));
    }
}

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

/// How the samples of a step are divided: into micro-batches, one for each process in turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Division {
    pub rank: usize,
    pub size: usize,
    /// Samples of a micro-batch.
    pub batch: usize,
}

impl Division {
    /// The micro-batches, in rounds of one for each process; of the last round some may be short, or have no sample.
    pub(crate) fn rounds<'a>(&self, samples: &'a [Sample]) -> Vec<Vec<&'a [Sample]>> {
        let round = |samples: &'a [Sample]| {
            let part = |rank: usize| {
                let [start, end] = [rank, rank + 1].map(|rank| (rank * self.batch).min(samples.len()));
                &samples[start..end]
            };
            (0..self.size).map(part).collect()
        };
        samples.chunks(self.batch * self.size).map(round).collect()
    }

    /// The samples of this process.
    pub(crate) fn own(&self, samples: &[Sample]) -> Vec<Sample> {
        self.rounds(samples).into_iter().flat_map(|round| round[self.rank].to_vec()).collect()
    }
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
    fn processes_take_every_sample_once() {
        let samples = SampleOrder::new(5, 23, 12).step(1);
        assert_eq!(samples.len(), 11);
        let of = |rank| Division { rank, size: 3, batch: 2 }.own(&samples);
        let mut all: Vec<Sample> = (0..3).flat_map(of).collect();
        assert_eq!([of(0).len(), of(1).len(), of(2).len()], [4, 4, 3]);
        all.sort_by_key(|sample| sample.index);
        assert_eq!(all, samples);
        // One sample is left for the second round: the others have none.
        let rounds = Division { rank: 1, size: 3, batch: 2 }.rounds(&samples[..7]).pop().expect("a round");
        assert_eq!(rounds, [&samples[6..7], &[], &[]]);
    }

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

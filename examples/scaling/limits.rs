//! Where data-parallel training with ZeRO-2 ends.

use super::{
    collective::Algorithm,
    hardware::{Compute, Link, Machine},
    memory::Memory,
    model::{Batch, Sizes},
    predict::Job,
};

/// More ranks than anybody has.
const MOST_RANKS: usize = 1 << 24;
const MOST_SAMPLES: usize = 1 << 12;
const MOST_BLOCKS: u64 = 1 << 12;

/// Whether a block's exchange takes no longer than the backward of the next block.
fn hides(job: &Job, machine: &Machine) -> bool {
    let costs = job.costs(machine);
    costs.exchange.first() <= costs.backward.first()
}

/// The fewest samples a rank with which exchanges hide.
pub(crate) fn fewest_samples(job: &Job, machine: &Machine) -> Option<usize> {
    let with = |samples| Job { batch: Batch { samples, ..job.batch }, ..*job };
    (1..=MOST_SAMPLES).find(|&samples| hides(&with(samples), machine))
}

/// The power of two of ranks from which exchanges no longer hide.
pub(crate) fn ranks_too_many(job: &Job, machine: &Machine) -> Option<usize> {
    let doubled = std::iter::successors(Some(job.ranks), |ranks| Some(2 * ranks));
    doubled.take_while(|&ranks| ranks <= MOST_RANKS).find(|&ranks| !hides(&Job { ranks, ..*job }, machine))
}

/// The slowest network, in bytes a second and rank, over which exchanges hide.
pub(crate) fn slowest_network(job: &Job, machine: &Machine) -> f64 {
    let with = |bandwidth| Machine { far: Link { bandwidth, ..machine.far }, ..*machine };
    let (mut slow, mut fast) = (1e6, machine.far.bandwidth);
    for _ in 0..60 {
        let middle = f64::midpoint(slow, fast);
        if hides(job, &with(middle)) { fast = middle } else { slow = middle }
    }
    fast
}

fn fits(job: &Job, machine: &Machine) -> bool {
    match machine.compute {
        Compute::Cards { memory, .. } => Memory::of(job).device() <= memory,
        Compute::SharedCores { .. } => true,
    }
}

/// The most samples a rank that fit, 0 where none does.
pub(crate) fn most_samples(job: &Job, machine: &Machine) -> usize {
    let with = |samples| Job { batch: Batch { samples, ..job.batch }, ..*job };
    (1..=MOST_SAMPLES).take_while(|&samples| fits(&with(samples), machine)).last().unwrap_or_default()
}

/// Parameters of the largest model of this width that fits with one sample, by its number of blocks.
pub(crate) fn largest_model(job: &Job, machine: &Machine) -> u64 {
    let sizes = |num_layers| Sizes { num_layers, ..job.sizes };
    let with = |num_layers| Job { sizes: sizes(num_layers), batch: Batch { samples: 1, ..job.batch }, ..*job };
    let blocks = (1..=MOST_BLOCKS).take_while(|&blocks| fits(&with(blocks), machine)).last();
    blocks.map_or(0, |blocks| sizes(blocks).parameters())
}

/// The part of a step that is waited for weights to be gathered.
pub(crate) fn gathering(job: &Job, machine: &Machine, algorithm: Algorithm) -> f64 {
    let step = Job { algorithm, ..*job }.predict(machine).step;
    step.gather_wait / step.seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hardware::{A100, H100},
        predict::tests::job,
    };

    #[test]
    fn what_fits_is_the_most_that_fits() {
        for ranks in [8, 64] {
            let most = most_samples(&job(ranks), &A100);
            let with = |samples| Job { batch: Batch { samples, ..job(ranks).batch }, ..job(ranks) };
            assert!(most >= 8 && fits(&with(most), &A100) && !fits(&with(most + 1), &A100), "{most}");
        }
        assert!(most_samples(&job(64), &A100) > most_samples(&job(8), &A100));
        assert!(largest_model(&job(1024), &H100) > job(1024).sizes.parameters());
    }

    #[test]
    fn hiding_needs_samples_and_a_network() {
        let few = fewest_samples(&job(64), &H100).expect("some hide");
        let at = |samples| Job { batch: Batch { samples, ..job(64).batch }, ..job(64) };
        assert!(hides(&at(few), &H100) && (few == 1 || !hides(&at(few - 1), &H100)));
        let slowest = slowest_network(&job(64), &H100);
        assert!(slowest < H100.far.bandwidth);
        let with = |bandwidth| Machine { far: Link { bandwidth, ..H100.far }, ..H100 };
        assert!(hides(&job(64), &with(slowest)) && !hides(&job(64), &with(slowest * 0.99)));
        let too_many = ranks_too_many(&job(64), &H100).expect("latencies add up");
        assert!(!hides(&job(too_many), &H100) && hides(&job(too_many / 2), &H100));
    }
}

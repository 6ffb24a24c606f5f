//! The micro-batches of a step that are one process's, and when their gradients leave it.

use cogview4_model::ComputeDtype;

use super::Trainer;
use crate::{
    config::ZeroStage,
    distributed::{Exchange, Round},
    schedule::order::{Division, Sample},
};

/// A turn of one process.
pub(super) struct Turn<'a> {
    /// The samples; none where others have the last of a step.
    pub samples: &'a [Sample],
    /// What the gradients count in the own sums.
    pub weight: f32,
    /// Where they leave at once: how they count in the sums of their owners.
    pub round: Option<Round>,
    pub is_last: bool,
}

impl Trainer {
    /// How samples are divided among processes and micro-batches.
    pub(super) fn division(&self) -> Division {
        let (rank, size) = (self.group.rank(), self.group.size());
        Division { rank, size, batch: self.config.recipe.train_batch_size }
    }

    /// The turns of this process in a step. Each sample of the step counts the same, also where the last micro-batch is
    /// short.
    pub(super) fn turns<'a>(&self, samples: &'a [Sample]) -> Vec<Turn<'a>> {
        let division = self.division();
        let rounds = division.rounds(samples);
        let count = rounds.len();
        let weight = |micro: &[Sample]| (micro.len() as f64 / samples.len() as f64) as f32;
        let turn = |(index, round): (usize, Vec<&'a [Sample]>)| {
            let (micro, is_last) = (round[division.rank], index + 1 == count);
            let (weight, round) = match (&self.partition, self.config.zero_stage) {
                (None, _) => (weight(micro), None),
                // Summed here first, so that they leave once.
                (Some(_), ZeroStage::One) if count > 1 => {
                    let weights = vec![1.0; round.len()].into();
                    let round = Round { weights, dtype: ComputeDtype::Float32.dtype() };
                    (weight(micro), is_last.then_some(round))
                }
                (Some(_), _) => {
                    let weights = round.iter().map(|micro| weight(micro)).collect();
                    (1.0, Some(Round { weights, dtype: self.config.recipe.compute_dtype.dtype() }))
                }
            };
            Turn { samples: micro, weight, round, is_last }
        };
        rounds.into_iter().enumerate().map(turn).collect()
    }

    /// What gathers the own part of the gradients of a step, where others have theirs.
    pub(super) fn begin_exchange(&self) -> Option<Exchange> {
        let partition = self.partition.as_ref()?;
        Some(Exchange::begin(&self.group, partition, self.gradient_memory.as_ref()))
    }
}

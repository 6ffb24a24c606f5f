//! Control gain: the loss on fixed samples with their own control images, with those of others, and with none. Noise
//! and timesteps are the same in all three, so that only the control makes the difference.

use cogview4_model::CogView4Transformer;

use crate::{
    error::Result,
    samples::{BatchMaker, EncodedSample, Rows, SampleEncoder},
    step::sample_losses,
};

/// Samples of the probe: each row is measured at several timesteps.
const SAMPLES: usize = 32;
/// Rows where training rows have to serve.
const TRAINING_ROWS: usize = 8;

/// Samples with the numbers of the other samples whose control images they get in turn.
pub(crate) struct Probe {
    samples: Vec<EncodedSample>,
    others: Vec<usize>,
    rows: usize,
}

impl Probe {
    /// Rows that are used of a held-out split.
    pub(crate) const MAX_ROWS: usize = SAMPLES;

    /// The first rows of a held-out split; `None` where there are too few to shuffle.
    pub(crate) fn of_split(split: &Rows, encoder: &SampleEncoder) -> Result<Option<Self>> {
        Self::of_rows(split, &(0..split.len().min(Self::MAX_ROWS)).collect::<Vec<_>>(), encoder)
    }

    /// Rows spread over the training rows.
    pub(crate) fn of_training_rows(train: &Rows, encoder: &SampleEncoder) -> Result<Option<Self>> {
        Self::of_rows(train, &train.spread_rows(TRAINING_ROWS), encoder)
    }

    fn of_rows(rows_of: &Rows, rows: &[usize], encoder: &SampleEncoder) -> Result<Option<Self>> {
        let count = rows.len();
        if count < 2 {
            return Ok(None);
        }
        let repeats = SAMPLES / count;
        let mut samples = Vec::with_capacity(count * repeats);
        for index in 0..count * repeats {
            samples.push(encoder.encode(rows_of.probe(rows[index % count], index as u64)?)?);
        }
        // Another row each time that a row comes round.
        let other = |index: usize| (index + 1 + index / count % (count - 1)) % count;
        Ok(Some(Self { others: (0..samples.len()).map(other).collect(), samples, rows: count }))
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Mean losses with the true, a shuffled and no control.
    pub(crate) fn losses(&self, model: &CogView4Transformer, maker: &BatchMaker<'_>) -> Result<[f64; 3]> {
        let shuffle = |(index, features): (usize, &EncodedSample)| EncodedSample {
            control: self.samples[self.others[index]].control.clone(),
            ..features.clone()
        };
        let shuffled: Vec<EncodedSample> = self.samples.iter().enumerate().map(shuffle).collect();
        let mean = |features: &[EncodedSample], without_control| -> Result<f64> {
            let mut sum = 0.0;
            let size = maker.recipe.train_batch_size;
            for (number, part) in features.chunks(size).enumerate() {
                let mut batch = maker.probe(part, number * size, self.samples.len());
                if without_control {
                    batch.control_latents = batch.control_latents.zeros_like();
                }
                let losses = sample_losses(model, &batch, maker.recipe.compute_dtype)?;
                sum += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            }
            Ok(sum / features.len() as f64)
        };
        Ok([mean(&self.samples, false)?, mean(&shuffled, false)?, mean(&self.samples, true)?])
    }
}

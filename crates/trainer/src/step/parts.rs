//! A micro-batch in parts that are computed side by side: where operations are small, what each of them does on one
//! thread, and what it takes to wake the others, would leave cores idle.

use std::ops::Range;

use burn::module::Module;
use cogview4_model::{
    CogView4Transformer, CogView4TransformerConfig, activations::SequenceLengths, is_flex,
    transformer::TransformerInputs,
};

use crate::samples::MicroBatch;

/// Parts, at most: however many threads there are, so that sums are the same. More gain nothing on two cores, and each holds
/// gradients.
const PARTS: usize = 2;
/// Values that flow from block to block, up to which operations are small.
const SMALL: usize = 1 << 19;
/// Parameters of a small model: each part has gradients of its own.
const SMALL_MODEL: usize = 1 << 23;

/// How many parts a micro-batch has: one, where the model or its operations are large.
pub(crate) fn count(config: &CogView4TransformerConfig, parameters: usize, lengths: SequenceLengths) -> usize {
    let SequenceLengths { batch, seq_txt, seq_img } = lengths;
    let is_small = parameters <= SMALL_MODEL && batch * (seq_txt + seq_img) * config.inner_dim() <= SMALL;
    if is_small { PARTS.min(batch) } else { 1 }
}

/// A part, and what the model is given of it, on the autodiff device.
pub(super) type Part<'a> = (&'a MicroBatch, TransformerInputs<'a>);

impl MicroBatch {
    /// Its parts. Other devices than the pure-Rust CPU divide the work of an operation themselves.
    pub(super) fn parts(&self, model: &CogView4Transformer) -> Vec<Self> {
        let samples = self.timesteps.len();
        let count = match is_flex(&self.noisy.device()) {
            true => count(model.config(), model.num_params(), self.lengths(model.config())),
            false => 1,
        };
        let range = |part: usize| part * samples / count..(part + 1) * samples / count;
        if count == 1 { vec![self.clone()] } else { (0..count).map(|part| self.part(range(part))).collect() }
    }

    /// Some of its samples, with pads as they are.
    fn part(&self, samples: Range<usize>) -> Self {
        let (first, count) = (samples.start, samples.len());
        Self {
            image_latents: self.image_latents.clone().narrow(0, first, count),
            control_latents: self.control_latents.clone().narrow(0, first, count),
            noise: self.noise.clone().narrow(0, first, count),
            noisy: self.noisy.clone().narrow(0, first, count),
            timesteps: self.timesteps[samples.clone()].to_vec(),
            sigmas: self.sigmas[samples.clone()].to_vec(),
            loss_weights: self.loss_weights[samples.clone()].to_vec(),
            prompt_embeds: self.prompt_embeds.clone().narrow(0, first, count),
            prompt_lengths: self.prompt_lengths[samples.clone()].to_vec(),
            sizes: self.sizes[samples].to_vec(),
            hidden_text: self.hidden_text.clone().map(|hidden| hidden.narrow(0, first, count)),
        }
    }
}

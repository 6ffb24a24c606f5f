//! A micro-batch in parts that are computed side by side: where operations are small, what each of them does on one
//! thread, and what it takes to wake the others, would leave cores idle.

use std::ops::Range;

use burn::module::Module;
use cogview4_model::{CogView4Transformer, is_flex};

use crate::samples::MicroBatch;

/// Parts, at most: however many threads there are, so that sums are the same.
const PARTS: usize = 4;
/// Values that flow from block to block, up to which operations are small.
const SMALL: usize = 1 << 19;
/// Parameters of a small model: each part has gradients of its own.
const SMALL_MODEL: usize = 1 << 24;

/// The samples of each part: all in one, where the model or its operations are large.
pub(super) fn parts(model: &CogView4Transformer, batch: &MicroBatch) -> Vec<Range<usize>> {
    let [samples, _, height, width] = batch.noisy.dims();
    let patches = (height / model.config().patch_size) * (width / model.config().patch_size);
    let values = samples * (patches + batch.prompt_embeds.dims()[1]) * model.config().inner_dim();
    let is_small = values <= SMALL && model.num_params() <= SMALL_MODEL;
    let count = if is_small && is_flex(&batch.noisy.device()) {
        std::env::var("PARTS").map_or(PARTS, |x| x.parse().unwrap()).min(samples)
    } else {
        1
    };
    (0..count).map(|part| part * samples / count..(part + 1) * samples / count).collect()
}

impl MicroBatch {
    /// Some of its samples, with pads as they are.
    pub(super) fn part(&self, samples: Range<usize>) -> Self {
        let of = |latents: &burn::tensor::Tensor<4>| latents.clone().narrow(0, samples.start, samples.len());
        Self {
            image_latents: of(&self.image_latents),
            control_latents: of(&self.control_latents),
            noise: of(&self.noise),
            noisy: of(&self.noisy),
            timesteps: self.timesteps[samples.clone()].to_vec(),
            sigmas: self.sigmas[samples.clone()].to_vec(),
            loss_weights: self.loss_weights[samples.clone()].to_vec(),
            prompt_embeds: self.prompt_embeds.clone().narrow(0, samples.start, samples.len()),
            prompt_lengths: self.prompt_lengths[samples.clone()].to_vec(),
            sizes: self.sizes[samples.clone()].to_vec(),
            hidden_text: self.hidden_text.clone().map(|hidden| hidden.narrow(0, samples.start, samples.len())),
        }
    }
}

//! A micro-batch: all that the step needs, from features and draws. Nothing here depends on what else is in the batch,
//! but for the pads that line captions up, which nobody sees.

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use cogview4_data::{Draws, Stream};
use cogview4_model::{
    CogView4TransformerConfig, FlowMatchEulerSchedulerConfig, activations::SequenceLengths, transformer::SizeConditions,
};
use rayon::prelude::*;

use super::EncodedSample;
use crate::config::{Recipe, WeightingSigma};

/// A micro-batch on the plain device.
#[derive(Debug, Clone)]
pub(crate) struct MicroBatch {
    /// Normalised, as drawn: `[B, C, h, w]`.
    pub image_latents: Tensor<4>,
    /// Normalised: `[B, C, h, w]`.
    pub control_latents: Tensor<4>,
    /// `[B, C, h, w]`.
    pub noise: Tensor<4>,
    /// `[B, C, h, w]`.
    pub noisy: Tensor<4>,
    /// Unshifted timesteps in [1, 1000].
    pub timesteps: Vec<f32>,
    /// Shifted noise levels.
    pub sigmas: Vec<f32>,
    /// How much each sample counts.
    pub loss_weights: Vec<f32>,
    /// Left-padded to the longest: `[B, S, text_embed_dim]`.
    pub prompt_embeds: Tensor<3>,
    /// Length of each caption, pads to its own multiple of 16 included.
    pub prompt_lengths: Vec<usize>,
    /// What the model is told of each picture's size.
    pub sizes: Vec<SizeConditions>,
    /// `[B, S]`, true = hidden.
    pub hidden_text: Option<Tensor<2, Bool>>,
}

impl MicroBatch {
    /// How long it is to a model of this configuration.
    pub(crate) fn lengths(&self, config: &CogView4TransformerConfig) -> SequenceLengths {
        let ([batch, _, height, width], patch) = (self.noisy.dims(), config.patch_size);
        let seq_img = (height / patch) * (width / patch);
        SequenceLengths { batch, seq_txt: self.prompt_embeds.dims()[1], seq_img }
    }
}

/// Settings that batches are made by.
pub(crate) struct BatchMaker<'a> {
    pub recipe: &'a Recipe,
    pub scheduler: &'a FlowMatchEulerSchedulerConfig,
    /// Scale, shift and patch size.
    pub scaling_factor: f64,
    pub shift_factor: f64,
    pub patch_size: usize,
    pub seed: u64,
    pub device: &'a Device,
}

impl BatchMaker<'_> {
    /// A micro-batch to train on.
    pub(crate) fn make(&self, features: &[EncodedSample]) -> MicroBatch {
        let train_steps = self.scheduler.num_train_timesteps;
        let density = &self.recipe.density;
        let timesteps = features
            .iter()
            .map(|features| {
                let mut draws = Draws::new(self.seed, Stream::Timestep, features.sample.index);
                (train_steps - density.draw(&mut draws, train_steps)) as f32
            })
            .collect();
        let sampled_control = self.recipe.sample_control_latents.then_some(Stream::ControlLatents);
        self.assemble(features, timesteps, [Some(Stream::ImageLatents), sampled_control], Stream::Noise)
    }

    /// Samples `first..` of a probe of `count`: timesteps evenly spread, latents the posterior's mean, all weights 1.
    pub(crate) fn probe(&self, features: &[EncodedSample], first: usize, count: usize) -> MicroBatch {
        let train_steps = self.scheduler.num_train_timesteps;
        let timestep = |index: usize| ((2 * index + 1) * train_steps).div_ceil(2 * count) as f32;
        let timesteps = (first..first + features.len()).map(timestep).collect();
        let mut batch = self.assemble(features, timesteps, [None; 2], Stream::Probe);
        batch.loss_weights.fill(1.0);
        batch
    }

    /// Latents are drawn where there is a stream for them, picture and control image in this order.
    fn assemble(
        &self,
        features: &[EncodedSample],
        timesteps: Vec<f32>,
        latent_streams: [Option<Stream>; 2],
        noise_stream: Stream,
    ) -> MicroBatch {
        let first = &features[0];
        let [channels, height, width] = latent_shape(&first.image);
        let shape = [features.len(), channels, height, width];
        let size = channels * height * width;
        let normals =
            |stream, features: &EncodedSample| Draws::new(self.seed, stream, features.sample.index).normals(size);
        let [image_stream, control_stream] = latent_streams;
        let image_latents = self.latents(
            features,
            |features| &features.image,
            |features| image_stream.map(|stream| normals(stream, features)),
        );
        let control_latents = self.latents(
            features,
            |features| &features.control,
            |features| control_stream.map(|stream| normals(stream, features)),
        );
        let noise = each(features, |features| normals(noise_stream, features));
        let noise: Tensor<4> = self.tensor(noise, shape);

        let image_seq_len = height * width / (self.patch_size * self.patch_size);
        let train_steps = self.scheduler.num_train_timesteps;
        let unshifted: Vec<f32> = timesteps.iter().map(|t| t / train_steps as f32).collect();
        let sigmas: Vec<f32> =
            unshifted.iter().map(|&sigma| self.scheduler.shift_sigma(sigma, image_seq_len)).collect();
        let weighed = match self.recipe.weighting_sigma {
            WeightingSigma::Unshifted => &unshifted,
            WeightingSigma::Shifted => &sigmas,
        };
        let density = &self.recipe.density;
        let loss_weights = weighed.iter().map(|&sigma| density.loss_weight(sigma)).collect();
        let sigma: Tensor<4> = self.tensor(sigmas.clone(), [features.len(), 1, 1, 1]);
        let noisy = (sigma.ones_like() - sigma.clone()) * image_latents.clone() + sigma * noise.clone();

        let (prompt_embeds, hidden_text) = self.text(features);
        MicroBatch {
            image_latents,
            control_latents,
            noise,
            noisy,
            timesteps,
            sigmas,
            loss_weights,
            prompt_embeds,
            prompt_lengths: features.iter().map(|features| features.embeds.shape()[0]).collect(),
            sizes: features.iter().map(|features| features.sizes).collect(),
            hidden_text,
        }
    }

    /// Normalised latents: the posterior's mean, or a draw where there is noise.
    fn latents<'f>(
        &self,
        features: &'f [EncodedSample],
        moments: impl Fn(&'f EncodedSample) -> &'f TensorData + Sync,
        noise: impl Fn(&'f EncodedSample) -> Option<Vec<f32>> + Sync,
    ) -> Tensor<4> {
        let [channels, height, width] = latent_shape(moments(&features[0]));
        let normalize = |value: f32| ((f64::from(value) - self.shift_factor) * self.scaling_factor) as f32;
        let values = each(features, |features| {
            posterior(values(moments(features)), noise(features)).into_iter().map(normalize).collect()
        });
        self.tensor(values, [features.len(), channels, height, width])
    }

    /// Lines captions up on the right; pads that only do that are hidden, own pads when asked for.
    fn text(&self, features: &[EncodedSample]) -> (Tensor<3>, Option<Tensor<2, Bool>>) {
        let width = features[0].embeds.shape()[1];
        let longest = features.iter().map(|features| features.embeds.shape()[0]).max().unwrap_or_default();
        let (mut embeds, mut hidden) = (Vec::new(), Vec::new());
        for features in features {
            let added = longest - features.embeds.shape()[0];
            let pads = if self.recipe.strict_text_mask { features.pads } else { 0 };
            embeds.extend(std::iter::repeat_n(0.0, added * width));
            embeds.extend_from_slice(values(&features.embeds));
            hidden.extend((0..longest).map(|token| token < added + pads));
        }
        let shape = [features.len(), longest];
        let any = hidden.contains(&true);
        let hidden = any.then(|| Tensor::from_data(TensorData::new(hidden, shape), self.device));
        (self.tensor(embeds, [features.len(), longest, width]), hidden)
    }

    fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), (self.device, DType::F32))
    }
}

/// The values of all samples, one after the other; drawing them takes as long as a layer of a small model.
fn each<'f>(features: &'f [EncodedSample], values: impl Fn(&'f EncodedSample) -> Vec<f32> + Sync + Send) -> Vec<f32> {
    let of_samples: Vec<_> = features.par_iter().map(values).collect();
    of_samples.concat()
}

/// Channels, height and width of the latents whose moments these are.
fn latent_shape(moments: &TensorData) -> [usize; 3] {
    let shape = moments.shape();
    [shape[0] / 2, shape[1], shape[2]]
}

fn values(data: &TensorData) -> &[f32] {
    data.as_slice().expect("invariant: encoded samples are f32")
}

/// The mean, or a draw with the given noise.
fn posterior(moments: &[f32], noise: Option<Vec<f32>>) -> Vec<f32> {
    let (mean, logvar) = moments.split_at(moments.len() / 2);
    let Some(noise) = noise else { return mean.to_vec() };
    let draw = |((mean, logvar), noise): ((&f32, &f32), &f32)| mean + (0.5 * logvar).exp() * noise;
    mean.iter().zip(logvar).zip(&noise).map(draw).collect()
}

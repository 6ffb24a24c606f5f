//! Training of the autoencoder between pictures and latents, from random weights or from others.

use burn::{
    module::Module,
    tensor::{DType, Tensor},
};
use cogview4_data::{Draws, Stream};
use cogview4_model::{AutoencoderKl, ComputeDtype, vae::DiagonalGaussian, weights::cast_parameters};

use crate::optimizer::{AdamW, AdamWConfig, Gradients};

/// Numbers of a training of an autoencoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VaeTrainConfig {
    /// Weight of the mean absolute difference of pixels in [-1, 1].
    pub l1_weight: f64,
    /// Weight of the mean squared difference.
    pub l2_weight: f64,
    /// Weight of the divergence from the standard normal distribution, mean of all latent values.
    pub kl_weight: f64,
    /// Type of weights and activations; sums and the optimiser's weights are float32.
    pub compute_dtype: ComputeDtype,
    /// Numbers of the optimiser.
    pub adam: AdamWConfig,
    /// Gradients are scaled so that their joint norm is at most this.
    pub max_grad_norm: f64,
    /// Seed of the latents that are drawn.
    pub seed: u64,
}

impl Default for VaeTrainConfig {
    fn default() -> Self {
        Self {
            l1_weight: 1.0,
            l2_weight: 1.0,
            kl_weight: 1e-4,
            compute_dtype: ComputeDtype::Float32,
            adam: AdamWConfig { beta1: 0.9, beta2: 0.99, weight_decay: 0.0, epsilon: 1e-8 },
            max_grad_norm: 1.0,
            seed: 0,
        }
    }
}

/// What a step measured.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct VaeStepMetrics {
    /// Steps made.
    pub step: usize,
    /// The sum that was trained on.
    pub loss: f64,
    /// Mean squared difference of pixels in [-1, 1].
    pub mean_square: f64,
    /// Divergence from the standard normal distribution, mean of all latent values, in nats.
    pub kl: f64,
    /// Joint norm of all gradients, before they were scaled.
    pub grad_norm: f64,
}

impl VaeStepMetrics {
    /// Peak signal to noise ratio of the step's pictures together, in decibel.
    pub fn psnr(&self) -> f64 {
        10.0 * (4.0 / self.mean_square).log10()
    }
}

/// Trains an autoencoder step by step, on pictures that the caller brings (Kingma and Welling, arXiv:1312.6114).
///
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use cogview4_model::{AutoencoderKl, AutoencoderKlConfig};
/// use cogview4_trainer::{VaeTrainConfig, VaeTrainer};
///
/// let (device, config) = (Device::flex(), AutoencoderKlConfig::default());
/// let mut trainer = VaeTrainer::new(AutoencoderKl::init(&config, &device), VaeTrainConfig::default());
/// let pixels = Tensor::random([2, 3, 16, 16], Distribution::Uniform(-1.0, 1.0), &device);
/// assert!(trainer.step(pixels, 1e-3).mean_square > 0.0);
/// let vae = trainer.into_vae();
/// ```
#[derive(Debug)]
pub struct VaeTrainer {
    /// Taken out only while a step changes it.
    vae: Option<AutoencoderKl>,
    optimizer: AdamW,
    config: VaeTrainConfig,
    /// Steps made.
    steps: usize,
}

impl VaeTrainer {
    /// Begins with these weights, which are f32.
    pub fn new(vae: AutoencoderKl, config: VaeTrainConfig) -> Self {
        Self { vae: Some(vae), optimizer: AdamW::new(config.adam), config, steps: 0 }
    }

    /// Makes one step on pictures `[B, in_channels, H, W]` in [-1, 1].
    pub fn step(&mut self, pixels: Tensor<4>, learning_rate: f64) -> VaeStepMetrics {
        let config = self.config;
        let dtype = config.compute_dtype.dtype();
        // Cast before the move to autodiff: behind it, the cast would be part of the graph.
        let model = cast_parameters(self.vae().clone(), dtype).train();
        let pixels = Tensor::from_inner(pixels);
        let posterior = model.encode(pixels.clone().cast(dtype));
        let latents = posterior.sample(self.noise(&posterior));
        let difference = model.decode(latents.cast(dtype)).cast(DType::F32) - pixels;
        let (l1, mean_square) = (difference.clone().abs().mean(), difference.square().mean());
        let kl = posterior.kl().mean();
        let loss = l1 * config.l1_weight + mean_square.clone() * config.l2_weight + kl.clone() * config.kl_weight;
        let [loss_value, mean_square, kl] =
            [loss.clone(), mean_square, kl].map(|value| f64::from(value.inner().into_scalar::<f32>()));

        let mut gradients = Gradients::default();
        gradients.take(&model, loss.backward(), 1.0);
        drop(model);
        let grad_norm = gradients.clip_norm(config.max_grad_norm);
        self.steps += 1;
        let vae = self.vae.take().expect("invariant: there between steps");
        let step = self.optimizer.step(self.steps, learning_rate, vae, gradients);
        let (vae, _) = step.expect("invariant: the state of this optimiser is in memory");
        self.vae = Some(vae);
        VaeStepMetrics { step: self.steps, loss: loss_value, mean_square, kl, grad_norm }
    }

    /// Standard normal noise for the latents of this step.
    fn noise(&self, posterior: &DiagonalGaussian) -> Tensor<4> {
        let shape = posterior.mean.dims();
        let size = shape.iter().product();
        let values = Draws::new(self.config.seed, Stream::ImageLatents, self.steps as u64).normals(size);
        Tensor::<1>::from_data(values.as_slice(), &posterior.mean.device()).reshape(shape)
    }

    /// The autoencoder as it is now, in f32.
    pub fn vae(&self) -> &AutoencoderKl {
        self.vae.as_ref().expect("invariant: there between steps")
    }

    /// The trained autoencoder, in f32.
    pub fn into_vae(self) -> AutoencoderKl {
        self.vae.expect("invariant: there between steps")
    }
}

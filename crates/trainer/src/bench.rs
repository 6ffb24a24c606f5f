//! What `bench_transformer` times: a forward pass, and a training step without the optimiser, on random weights.

use std::path::Path;

use burn::tensor::{DType, Device, Distribution, Tensor};
use cogview4_model::{
    CogView4Transformer, CogView4TransformerConfig, ComputeDtype, FlowMatchEulerSchedulerConfig,
    transformer::SizeConditions,
    weights::{WeightOptions, cast_parameters},
};

use crate::{
    error::Result,
    optimizer::Gradients,
    samples::MicroBatch,
    step::{GradientSink, forward_backward, inputs},
};

pub use cogview4_model::memory::peak_resident_bytes as peak_memory_bytes;

/// Pixels of the VAE's scale.
const SCALE: usize = 8;

/// A control transformer of random weights, with inputs.
#[derive(Debug)]
pub struct TransformerBench {
    model: CogView4Transformer,
    batch: MicroBatch,
    dtype: ComputeDtype,
    keeps_gradients: bool,
}

impl TransformerBench {
    /// Draws weights and inputs; the input channels are doubled for the control latents.
    pub fn new(
        config: &CogView4TransformerConfig,
        [samples, height, width, text_tokens]: [usize; 4],
        dtype: ComputeDtype,
        device: &Device,
    ) -> Self {
        let channels = config.out_channels;
        let config = CogView4TransformerConfig { in_channels: 2 * channels, ..config.clone() };
        // In the type of the computation at once: f32 masters are the optimiser's.
        let model = cast_parameters(config.init(device), dtype.dtype());
        let normal = |shape| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), (device, DType::F32));
        let latents = || normal([samples, channels, height / SCALE, width / SCALE]);
        let timesteps = vec![500.0; samples];
        let sigma = FlowMatchEulerSchedulerConfig::default().shift_sigma(0.5, 1024);
        let text = [samples, text_tokens, config.text_embed_dim];
        let batch = MicroBatch {
            image_latents: latents(),
            control_latents: latents(),
            noise: latents(),
            noisy: latents(),
            sigmas: vec![sigma; samples],
            timesteps,
            loss_weights: vec![1.0; samples],
            prompt_embeds: Tensor::random(text, Distribution::Normal(0.0, 1.0), (device, DType::F32)),
            prompt_lengths: vec![text_tokens; samples],
            sizes: vec![SizeConditions::uncropped(height, width); samples],
            hidden_text: None,
        };
        Self { model, batch, dtype, keeps_gradients: false }
    }

    /// Has gradients stay on the device, as where the optimiser works there.
    #[must_use]
    pub fn keeping_gradients(self, keeps_gradients: bool) -> Self {
        Self { keeps_gradients, ..self }
    }

    /// One forward pass, waited for.
    ///
    /// # Errors
    /// Weights that are streamed and cannot be read.
    pub fn forward(&self) -> Result<()> {
        let output = self.model.forward(inputs(&self.model, &self.batch, self.dtype))?;
        let _: f32 = output.cast(DType::F32).sum().into_scalar();
        Ok(())
    }

    /// Loss and gradients of all parameters, waited for.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn train(&self, recompute: bool) -> Result<()> {
        let mut gradients = if self.keeps_gradients { Gradients::on_device() } else { Gradients::default() };
        let mut sink = GradientSink { gradients: &mut gradients, weight: 1.0, update: None, exchange: None };
        forward_backward(self.model.clone(), &self.batch, (self.dtype, recompute), &mut sink)?;
        // Whatever is under way: a device that fails fails in what it computes next.
        let _ = self.batch.noise.device().sync();
        Ok(())
    }

    /// The same weights, written to a folder and streamed from there: no block stays in memory.
    ///
    /// # Errors
    /// A file that cannot be written or read.
    pub fn stream_from(mut self, folder: &Path) -> Result<Self> {
        let device = self.batch.noise.device();
        self.model.save(folder)?;
        let options = WeightOptions { resident_blocks: Some(0), ..WeightOptions::new(self.dtype.dtype(), &device) };
        self.model = CogView4Transformer::load_with(folder, &options)?;
        Ok(self)
    }
}

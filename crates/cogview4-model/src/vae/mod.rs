//! The variational autoencoder between pictures and latents (`AutoencoderKL` of diffusers 0.42.1).

mod blocks;
mod config;
mod decoder;
mod encoder;
mod posterior;
mod tiling;

use std::path::Path;

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};

use self::{decoder::Decoder, encoder::Encoder};
use crate::{
    error::Result,
    nn::Conv2d,
    weights::{DIFFUSION_WEIGHTS, LoadOptions, WeightFiles, WeightOptions, load_module},
};

pub use config::AutoencoderKlConfig;
pub use posterior::DiagonalGaussian;
pub use tiling::VaeTiling;

/// The autoencoder. Pictures are `[B, 3, H, W]` in [-1, 1]; latents are `[B, latent_channels, H / s, W / s]` with
/// `s = 2^(levels - 1)`.
///
/// ```no_run
/// use burn::tensor::{DType, Device, Tensor};
/// use cogview4_model::AutoencoderKl;
///
/// let device = Device::flex();
/// let vae = AutoencoderKl::load("CogView4-6B/vae".as_ref(), DType::F32, &device)?;
/// let latents = vae.normalize(vae.encode(Tensor::zeros([1, 3, 512, 512], &device)).mode()); // [1, 16, 64, 64]
/// let pixels = vae.decode(vae.denormalize(latents));
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Module, Debug)]
pub struct AutoencoderKl {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    #[module(skip)]
    config: AutoencoderKlConfig,
    #[module(skip)]
    tiling: Option<VaeTiling>,
    #[module(skip)]
    slicing: bool,
}

impl AutoencoderKl {
    /// Builds the model on a device; nothing is allocated until the weights are loaded or used.
    pub fn init(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let pointwise = |channels: usize| Conv2d::init(channels, channels, 1, device);
        Self {
            encoder: Encoder::init(config, device),
            decoder: Decoder::init(config, device),
            quant_conv: config.use_quant_conv.then(|| pointwise(2 * config.latent_channels)),
            post_quant_conv: config.use_post_quant_conv.then(|| pointwise(config.latent_channels)),
            config: config.clone(),
            tiling: None,
            slicing: false,
        }
    }

    /// Loads a component folder in diffusers layout (`config.json`, `diffusion_pytorch_model*.safetensors`).
    ///
    /// # Errors
    /// A missing or broken file, or weights that are not exactly those of the configuration.
    pub fn load(folder: &Path, dtype: DType, device: &Device) -> Result<Self> {
        Self::load_with(folder, &WeightOptions::new(dtype, device))
    }

    /// As [`load`](Self::load), with more to choose.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(folder: &Path, options: &WeightOptions) -> Result<Self> {
        let config = AutoencoderKlConfig::load(&folder.join("config.json"))?;
        let files = WeightFiles::open_variant(folder, DIFFUSION_WEIGHTS, options.variant.as_deref())?;
        let load = LoadOptions { is_mapped: options.is_mapped, ..LoadOptions::all(options.dtype) };
        load_module(config.init(&options.device), &files, load)
    }

    /// The sizes of this model.
    pub fn config(&self) -> &AutoencoderKlConfig {
        &self.config
    }

    /// Large pictures go through in tiles of the configuration's `sample_size`, blended as diffusers does: memory stays
    /// bounded, the result differs a little. Off by default.
    pub fn enable_tiling(&mut self) {
        self.set_tiling(Some(VaeTiling::new(self.config.tile_size(), self.config.scale_factor())));
    }

    /// Tiles of any size, or none.
    pub fn set_tiling(&mut self, tiling: Option<VaeTiling>) {
        self.tiling = tiling;
    }

    /// Whether pictures of a batch go through one after another, which needs less memory. Off by default.
    pub fn set_slicing(&mut self, slicing: bool) {
        self.slicing = slicing;
    }

    /// Encodes pictures; the result is not yet normalised for the transformer.
    ///
    /// # Shapes
    /// `[B, in_channels, H, W]` in [-1, 1], sides multiples of `s`.
    pub fn encode(&self, pixels: Tensor<4>) -> DiagonalGaussian {
        let encode = |pixels: Tensor<4>| {
            let moments = self.encoder.forward(pixels);
            match &self.quant_conv {
                Some(conv) => conv.forward(moments),
                None => moments,
            }
        };
        DiagonalGaussian::from_moments(self.sliced(pixels, |pixels| match &self.tiling {
            Some(tiling) if tiling.splits_pixels(&pixels) => tiling.encode(&pixels, encode),
            _ => encode(pixels),
        }))
    }

    /// Decodes latents (denormalised) to pictures, nominally in [-1, 1], not clamped.
    ///
    /// # Shapes
    /// `[B, latent_channels, H, W]` to `[B, out_channels, s H, s W]`.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let decode = |latents: Tensor<4>| {
            self.decoder.forward(match &self.post_quant_conv {
                Some(conv) => conv.forward(latents),
                None => latents,
            })
        };
        self.sliced(latents, |latents| match &self.tiling {
            Some(tiling) if tiling.splits_latents(&latents) => tiling.decode(&latents, decode),
            _ => decode(latents),
        })
    }

    /// The whole batch at once, or slice by slice.
    fn sliced(&self, input: Tensor<4>, forward: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        let batch = input.dims()[0];
        if !self.slicing || batch == 1 {
            return forward(input);
        }
        Tensor::cat((0..batch).map(|index| forward(input.clone().narrow(0, index, 1))).collect(), 0)
    }

    /// Latents as the transformer sees them: `(latents - shift_factor) * scaling_factor`.
    pub fn normalize(&self, latents: Tensor<4>) -> Tensor<4> {
        (latents - self.config.shift_factor.unwrap_or(0.0)) * self.config.scaling_factor
    }

    /// The way back: `latents / scaling_factor + shift_factor`.
    pub fn denormalize(&self, latents: Tensor<4>) -> Tensor<4> {
        latents / self.config.scaling_factor + self.config.shift_factor.unwrap_or(0.0)
    }
}

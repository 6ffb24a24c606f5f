//! `config.json` of the VAE.

use std::path::Path;

use burn::tensor::Device;
use serde::Deserialize;

use super::AutoencoderKl;
use crate::{
    config_file::{self, MAX_LAYERS},
    error::Result,
};

/// Each level halves the side of a picture.
const MAX_LEVELS: usize = 16;

/// Sizes of an `AutoencoderKL`; what a file leaves out has the default of diffusers 0.42.1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct AutoencoderKlConfig {
    /// Channels of a picture going in.
    pub in_channels: usize,
    /// Channels of a picture coming out.
    pub out_channels: usize,
    /// Width of each level; each but the last halves the size.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks a level on the way in; one more on the way out.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Latents are multiplied by this before the transformer sees them.
    pub scaling_factor: f64,
    /// This is taken from the latents before they are scaled.
    pub shift_factor: Option<f64>,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle block has attention.
    pub mid_block_add_attention: bool,
    sample_size: SampleSize,
    act_fn: String,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
}

/// A side, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
enum SampleSize {
    Side(usize),
    Sides([usize; 2]),
}

impl Default for AutoencoderKlConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            sample_size: SampleSize::Side(32),
            act_fn: "silu".into(),
            down_block_types: vec![DOWN_BLOCK.into()],
            up_block_types: vec![UP_BLOCK.into()],
        }
    }
}

const DOWN_BLOCK: &str = "DownEncoderBlock2D";
const UP_BLOCK: &str = "UpDecoderBlock2D";

impl AutoencoderKlConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// A missing or broken file, another model, or a kind of block that `AutoencoderKL` has in no released model.
    pub fn load(path: &Path) -> Result<Self> {
        let config: Self = config_file::read(path, "_class_name", "AutoencoderKL")?;
        let levels = config.block_out_channels.len();
        config_file::check(levels > 0, path, || "`block_out_channels` is empty".into())?;
        config_file::check(matches!(config.act_fn.as_str(), "silu" | "swish"), path, || {
            format!("`act_fn` is `{}`, only `silu` is supported", config.act_fn)
        })?;
        for (field, types, supported) in [
            ("down_block_types", &config.down_block_types, DOWN_BLOCK),
            ("up_block_types", &config.up_block_types, UP_BLOCK),
        ] {
            config_file::check(types.len() == levels, path, || {
                format!("`{field}` has {} entries, `block_out_channels` {levels}", types.len())
            })?;
            config_file::check(types.iter().all(|kind| kind == supported), path, || {
                format!("`{field}` may only hold `{supported}`")
            })?;
        }
        let sizes = [
            ("in_channels", config.in_channels),
            ("out_channels", config.out_channels),
            ("latent_channels", config.latent_channels),
            ("sample_size", config.tile_size()),
        ];
        config_file::check_sizes(path, sizes)?;
        config_file::check_sizes(path, config.block_out_channels.iter().map(|&size| ("block_out_channels", size)))?;
        config_file::check_size(path, "layers_per_block", config.layers_per_block, MAX_LAYERS)?;
        config_file::check_size(path, "the number of `block_out_channels`", levels, MAX_LEVELS)?;
        for &channels in &config.block_out_channels {
            let divides = config.norm_num_groups > 0 && channels.is_multiple_of(config.norm_num_groups);
            config_file::check(divides, path, || {
                format!("`norm_num_groups` {} does not divide {channels} channels", config.norm_num_groups)
            })?;
        }
        // Latents are divided by it; a number that f32 cannot hold, or not well, gives pictures of nothing.
        config_file::check_number(path, "scaling_factor", config.scaling_factor.abs(), 1e-6..=1e6)?;
        config_file::check_number(path, "shift_factor", config.shift_factor.unwrap_or(0.0), -1e6..=1e6)?;
        Ok(config)
    }

    /// Builds the model on a device; nothing is allocated until the weights are loaded or used.
    pub fn init(&self, device: &Device) -> AutoencoderKl {
        AutoencoderKl::init(self, device)
    }

    /// Side of the pictures that the model was made for, `sample_size`, in pixels; tiles have it.
    pub fn tile_size(&self) -> usize {
        match self.sample_size {
            SampleSize::Side(side) => side,
            SampleSize::Sides([height, width]) => height.min(width),
        }
    }

    /// Pixels a latent pixel stands for, along each side.
    pub fn scale_factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}

//! `config.json` of the transformer.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::CogView4Transformer;
use crate::{
    config_file::{self, MAX_LAYERS},
    error::Result,
    files::write_atomic,
};

/// Sizes of a CogView4 transformer; what a file leaves out has the default of diffusers 0.42.1.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct CogView4TransformerConfig {
    /// Side of a patch, in latent pixels.
    pub patch_size: usize,
    /// Latent channels in: 16 for a base model, 32 for a control model.
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Width of an attention head.
    pub attention_head_dim: usize,
    /// Number of attention heads.
    pub num_attention_heads: usize,
    /// Width of the text embeddings.
    pub text_embed_dim: usize,
    /// Width of the embedding of timestep and sizes.
    pub time_embed_dim: usize,
    /// Width of the embedding of each of the six size numbers.
    pub condition_dim: usize,
    /// Side of the largest picture in patches; the model does not depend on it, diffusers writes it.
    pub pos_embed_max_size: usize,
    /// Side of the default picture, in latent pixels.
    pub sample_size: usize,
    /// Number of rotary positions along height and width.
    pub rope_axes_dim: [usize; 2],
}

impl Default for CogView4TransformerConfig {
    fn default() -> Self {
        Self {
            patch_size: 2,
            in_channels: 16,
            out_channels: 16,
            num_layers: 30,
            attention_head_dim: 40,
            num_attention_heads: 64,
            text_embed_dim: 4096,
            time_embed_dim: 512,
            condition_dim: 256,
            pos_embed_max_size: 128,
            sample_size: 128,
            rope_axes_dim: [256, 256],
        }
    }
}

impl CogView4TransformerConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// A missing or broken file, another model, or sizes that do not fit together.
    pub fn load(path: &Path) -> Result<Self> {
        let config: Self = config_file::read(path, "_class_name", "CogView4Transformer2DModel")?;
        let sizes = [
            ("patch_size", config.patch_size),
            ("in_channels", config.in_channels),
            ("out_channels", config.out_channels),
            ("attention_head_dim", config.attention_head_dim),
            ("num_attention_heads", config.num_attention_heads),
            ("text_embed_dim", config.text_embed_dim),
            ("time_embed_dim", config.time_embed_dim),
            ("condition_dim", config.condition_dim),
            ("sample_size", config.sample_size),
            ("pos_embed_max_size", config.pos_embed_max_size),
        ];
        config_file::check_sizes(path, sizes)?;
        config_file::check_sizes(path, config.rope_axes_dim.map(|size| ("rope_axes_dim", size)))?;
        config_file::check_size(path, "num_layers", config.num_layers, MAX_LAYERS)?;
        config_file::check(config.attention_head_dim.is_multiple_of(4), path, || {
            format!("`attention_head_dim` is {}, must be a multiple of 4", config.attention_head_dim)
        })?;
        Ok(config)
    }

    /// Writes `config.json` of a component folder.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        write_atomic(&folder.join("config.json"), self.to_json().as_bytes())
    }

    /// The text of a `config.json` that diffusers reads.
    pub fn to_json(&self) -> String {
        let mut config = serde_json::json!(self);
        config["_class_name"] = "CogView4Transformer2DModel".into();
        format!("{config:#}\n")
    }

    /// Builds the model on a device; nothing is allocated until the weights are loaded or used.
    pub fn init(&self, device: &Device) -> CogView4Transformer {
        CogView4Transformer::init(self, device)
    }

    /// Number of control images that the input has room for beside the noisy latents: 0 in a base model, 1 in a control
    /// model; `None` where the channels are no whole number of latents.
    ///
    /// ```
    /// use cogview4_model::CogView4TransformerConfig;
    ///
    /// let base = CogView4TransformerConfig::default();
    /// let control = CogView4TransformerConfig { in_channels: 32, ..base.clone() };
    /// assert_eq!([base.controls(16), control.controls(16), control.controls(12)], [Some(0), Some(1), None]);
    /// ```
    pub fn controls(&self, latent_channels: usize) -> Option<usize> {
        if latent_channels == 0 || !self.in_channels.is_multiple_of(latent_channels) {
            return None;
        }
        (self.in_channels / latent_channels).checked_sub(1)
    }

    /// Width of the hidden states.
    pub fn inner_dim(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }
}

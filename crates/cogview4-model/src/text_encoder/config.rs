//! `config.json` of the text encoder, in the form of transformers 4.x (`rope_theta`) and 5.x (`rope_parameters`).

use std::path::Path;

use serde::Deserialize;

use crate::{
    config_file::{self, MAX_LAYERS},
    error::Result,
};

/// Sizes of a `GlmModel`; what a file leaves out has the default of transformers.
#[derive(Debug, Clone, PartialEq)]
pub struct GlmConfig {
    /// Number of tokens known.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward.
    pub intermediate_size: usize,
    /// Number of layers in the checkpoint; the last is not used, see [`GlmModel`](super::GlmModel).
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Whether the projections to query, key and value have a bias.
    pub attention_bias: bool,
    /// Epsilon of the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Part of a head that is turned.
    pub partial_rotary_factor: f64,
}

#[derive(Deserialize)]
#[serde(default)]
struct RawConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    attention_bias: bool,
    rms_norm_eps: f64,
    hidden_act: String,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    rope_scaling: Option<RopeParameters>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RopeParameters {
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            vocab_size: 151_552,
            hidden_size: 4096,
            intermediate_size: 13_696,
            num_hidden_layers: 40,
            num_attention_heads: 32,
            num_key_value_heads: Some(2),
            head_dim: Some(128),
            attention_bias: true,
            rms_norm_eps: 1.5625e-7,
            hidden_act: "silu".into(),
            rope_theta: None,
            partial_rotary_factor: None,
            rope_parameters: None,
            rope_scaling: None,
        }
    }
}

impl GlmConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// A missing or broken file, another model, or a variant that GLM-4 does not have.
    pub fn load(path: &Path) -> Result<Self> {
        let raw: RawConfig = config_file::read(path, "model_type", "glm")?;
        config_file::check(matches!(raw.hidden_act.as_str(), "silu" | "swish"), path, || {
            format!("`hidden_act` is `{}`, only `silu` is supported", raw.hidden_act)
        })?;
        let rope = raw.rope_parameters.or(raw.rope_scaling).unwrap_or_default();
        if let Some(kind) = rope.rope_type.as_deref() {
            config_file::check(kind == "default", path, || {
                format!("`rope_type` is `{kind}`, only `default` is supported")
            })?;
        }
        config_file::check(raw.num_attention_heads > 0, path, || "`num_attention_heads` is 0".into())?;
        let heads = raw.num_attention_heads;
        let config = Self {
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_hidden_layers: raw.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: raw.num_key_value_heads.unwrap_or(heads),
            head_dim: raw.head_dim.unwrap_or(raw.hidden_size / heads),
            attention_bias: raw.attention_bias,
            rms_norm_eps: raw.rms_norm_eps,
            rope_theta: rope.rope_theta.or(raw.rope_theta).unwrap_or(10_000.0),
            partial_rotary_factor: rope.partial_rotary_factor.or(raw.partial_rotary_factor).unwrap_or(0.5),
        };
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
        ];
        config_file::check_sizes(path, sizes)?;
        config_file::check_size(path, "num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?;
        config_file::check_number(path, "rms_norm_eps", self.rms_norm_eps, 0.0..=1.0)?;
        config_file::check_number(path, "rope_theta", self.rope_theta, 1.0..=1e12)?;
        config_file::check(self.num_attention_heads.is_multiple_of(self.num_key_value_heads), path, || {
            format!("{} key heads do not divide {} heads", self.num_key_value_heads, self.num_attention_heads)
        })?;
        let rotary_dim = self.rotary_dim();
        config_file::check(rotary_dim > 0 && rotary_dim <= self.head_dim && rotary_dim.is_multiple_of(2), path, || {
            format!("`partial_rotary_factor` {} turns {rotary_dim} features of a head", self.partial_rotary_factor)
        })
    }

    /// Features of a head that are turned.
    pub(super) fn rotary_dim(&self) -> usize {
        (self.head_dim as f64 * self.partial_rotary_factor) as usize
    }
}

//! The text encoder: GLM-4 (`GlmModel` of transformers), read one layer before its end.

mod config;
mod layer;

use std::path::Path;

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Distribution, Int, Tensor, TensorData},
};

use self::layer::GlmDecoderLayer;
use crate::{
    error::{ModelError, Result},
    nn::lazy_param,
    ops::RotaryTable,
    weights::{LoadOptions, TRANSFORMERS_WEIGHTS, WeightFiles, load_module},
};

pub use config::GlmConfig;

/// The text encoder. Its output is `hidden_states[-2]`, which is what layer n - 1 of n gives: the last layer and
/// the final norm are neither loaded nor run.
///
/// ```no_run
/// use burn::tensor::{DType, Device};
/// use cogview4_model::GlmModel;
///
/// let model = GlmModel::load("CogView4-6B/text_encoder".as_ref(), DType::F32, &Device::flex())?;
/// let embeds = model.forward(&[151331, 151333, 64, 8878]); // [1, 4, hidden_size]
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Module, Debug)]
pub struct GlmModel {
    embed_tokens: Embedding,
    layers: Vec<GlmDecoderLayer>,
    #[module(skip)]
    config: GlmConfig,
}

#[derive(Module, Debug)]
struct Embedding {
    /// `[vocab, D]`.
    weight: Param<Tensor<2>>,
}

impl GlmModel {
    /// Builds the model on a device; nothing is allocated until the weights are loaded or used.
    pub fn init(config: &GlmConfig, device: &Device) -> Self {
        let weight = lazy_param([config.vocab_size, config.hidden_size], Distribution::Normal(0.0, 0.02), device);
        let used_layers = config.num_hidden_layers - 1;
        Self {
            embed_tokens: Embedding { weight },
            layers: (0..used_layers).map(|_| GlmDecoderLayer::init(config, device)).collect(),
            config: config.clone(),
        }
    }

    /// Loads a component folder in transformers layout (`config.json`, `model*.safetensors`), saved as `GlmModel`
    /// or as `GlmForCausalLM`.
    ///
    /// # Errors
    /// A missing or broken file, or weights that are not exactly those of the configuration.
    pub fn load(folder: &Path, dtype: DType, device: &Device) -> Result<Self> {
        Self::load_variant(folder, None, dtype, device)
    }

    /// As [`load`](Self::load), of a variant of the weights, such as `fp16`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_variant(folder: &Path, variant: Option<&str>, dtype: DType, device: &Device) -> Result<Self> {
        let config = GlmConfig::load(&folder.join("config.json"))?;
        let files = WeightFiles::open_variant(folder, TRANSFORMERS_WEIGHTS, variant)?;
        let prefix = if files.shape("model.embed_tokens.weight").is_some() { "model." } else { "" };
        let last_layer = format!("{prefix}layers.{}.", config.num_hidden_layers - 1);
        let final_norm = format!("{prefix}norm.weight");
        let unused = |key: &str| key.starts_with(&last_layer) || key == final_norm || key == "lm_head.weight";
        load_module(Self::init(&config, device), &files, LoadOptions { dtype, prefix, may_ignore: &unused })
    }

    /// The sizes of this model.
    pub fn config(&self) -> &GlmConfig {
        &self.config
    }

    /// Checks that the model knows all tokens of a prompt.
    ///
    /// # Errors
    /// [`ModelError::BadInput`] names the first that it does not know.
    pub fn check_ids(&self, token_ids: &[u32]) -> Result<()> {
        let vocab_size = self.config.vocab_size;
        match token_ids.iter().find(|&&id| id as usize >= vocab_size) {
            None => Ok(()),
            Some(id) => {
                let reason = format!("the tokenizer gives token {id}, but the text encoder knows {vocab_size}");
                Err(ModelError::bad_input("prompt", reason))
            }
        }
    }

    /// `hidden_states[-2]` of one prompt. Pads are ordinary tokens, as in the reference.
    ///
    /// # Shapes
    /// `S` token ids to `[1, S, hidden_size]`.
    ///
    /// # Panics
    /// When an id is not below the vocabulary's size.
    pub fn forward(&self, token_ids: &[u32]) -> Tensor<3> {
        let vocab_size = self.config.vocab_size;
        assert!(token_ids.iter().all(|&id| (id as usize) < vocab_size), "token ids are below {vocab_size}");
        let weight = self.embed_tokens.weight.val();
        let ids: Vec<i64> = token_ids.iter().map(|&id| i64::from(id)).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [token_ids.len()]), &weight.device());
        let rotary = self.rotary_table(token_ids.len(), weight.dtype(), &weight.device());
        let hidden_states = weight.select(0, ids).unsqueeze::<3>();
        self.layers.iter().fold(hidden_states, |hidden_states, layer| layer.forward(hidden_states, &rotary))
    }

    fn rotary_table(&self, seq: usize, dtype: DType, device: &Device) -> RotaryTable {
        let frequencies = RotaryTable::inverse_frequencies(self.config.rope_theta, self.config.rotary_dim());
        let angles: Vec<f32> = (0..seq)
            .flat_map(|position| frequencies.iter().map(move |frequency| position as f32 * frequency))
            .collect();
        RotaryTable::from_angles(&angles, frequencies.len(), dtype, device)
    }
}

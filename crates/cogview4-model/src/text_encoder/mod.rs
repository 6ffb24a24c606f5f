//! The text encoder: GLM-4 (`GlmModel` of transformers), read one layer before its end.

mod config;
mod layer;

use std::{path::Path, sync::Arc};

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Distribution, Int, Tensor, TensorData},
};

use self::layer::GlmDecoderLayer;
use crate::{
    error::{ModelError, Result},
    nn::lazy_param,
    ops::RotaryTable,
    weights::{
        BlockStream, LoadOptions, TRANSFORMERS_WEIGHTS, WeightFiles, WeightOptions, block, block_index, fill_blocks,
        is_of_blocks, load_module,
    },
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
/// let embeds = model.forward(&[151331, 151333, 64, 8878])?; // [1, 4, hidden_size]
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Module, Debug)]
pub struct GlmModel {
    embed_tokens: Embedding,
    layers: Vec<GlmDecoderLayer>,
    /// The layers behind those in memory.
    #[module(skip)]
    streamed: Option<Arc<BlockStream<GlmDecoderLayer>>>,
    #[module(skip)]
    config: GlmConfig,
}

#[derive(Module, Debug)]
struct Embedding {
    /// `[vocab, D]`; not loaded where rows are read from the files.
    weight: Param<Tensor<2>>,
    #[module(skip)]
    rows: Option<EmbeddingRows>,
}

/// Where the rows of an embedding are read from: a prompt needs a few of very many.
#[derive(Debug, Clone)]
struct EmbeddingRows {
    files: Arc<WeightFiles>,
    key: String,
    dtype: DType,
}

impl Embedding {
    /// `S` ids to `[S, D]`.
    fn forward(&self, ids: &[u32]) -> Result<Tensor<2>> {
        let Some(EmbeddingRows { files, key, dtype }) = &self.rows else {
            let weight = self.weight.val();
            let rows: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [ids.len()]), &weight.device());
            return Ok(weight.select(0, rows));
        };
        let device = self.weight.lazy_device();
        let read = |&id: &u32| Ok(Tensor::from_data(files.read_row(key, id as usize, *dtype)?, (&device, *dtype)));
        Ok(Tensor::cat(ids.iter().map(read).collect::<Result<_>>()?, 0))
    }
}

impl GlmModel {
    /// Builds the model on a device; nothing is allocated until the weights are loaded or used.
    pub fn init(config: &GlmConfig, device: &Device) -> Self {
        let weight = lazy_param([config.vocab_size, config.hidden_size], Distribution::Normal(0.0, 0.02), device);
        let used_layers = config.num_hidden_layers - 1;
        Self {
            embed_tokens: Embedding { weight, rows: None },
            layers: (0..used_layers).map(|_| GlmDecoderLayer::init(config, device)).collect(),
            streamed: None,
            config: config.clone(),
        }
    }

    /// Loads a component folder in transformers layout (`config.json`, `model*.safetensors`), saved as `GlmModel`
    /// or as `GlmForCausalLM`.
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
        let config = GlmConfig::load(&folder.join("config.json"))?;
        let files = WeightFiles::open_variant(folder, TRANSFORMERS_WEIGHTS, options.variant.as_deref())?;
        let files = Arc::new(files);
        let prefix = if files.shape("model.embed_tokens.weight").is_some() { "model." } else { "" };
        let (layers, embedding) = (format!("{prefix}layers"), format!("{prefix}embed_tokens.weight"));
        let final_norm = format!("{prefix}norm.weight");
        let (used, device, dtype) = (config.num_hidden_layers - 1, options.device.clone(), options.dtype);
        let load = LoadOptions {
            is_mapped: options.is_mapped,
            prefix,
            may_ignore: &|key| block_index(key, &layers) == Some(used) || key == final_norm || key == "lm_head.weight",
            is_left: &|key| key == embedding || is_of_blocks(&files, key, &layers, options),
            ..LoadOptions::all(dtype)
        };
        let mut model = load_module(Self::init(&config, &device), &files, load)?;
        model.embed_tokens.rows = Some(EmbeddingRows { files: Arc::clone(&files), key: embedding, dtype });
        let init = move || GlmDecoderLayer::init(&config, &device);
        model.streamed = fill_blocks(&mut model.layers, init, files, &layers, options)?;
        Ok(model)
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
    /// # Errors
    /// A part that has to be read and cannot.
    ///
    /// # Panics
    /// When an id is not below the vocabulary's size.
    pub fn forward(&self, token_ids: &[u32]) -> Result<Tensor<3>> {
        let mut outputs = self.forward_each(&[token_ids])?;
        Ok(outputs.pop().expect("invariant: an output for each prompt"))
    }

    /// Several prompts in one pass over the layers: what [`forward`](Self::forward) gives for each alone.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_each(&self, prompts: &[&[u32]]) -> Result<Vec<Tensor<3>>> {
        let vocab_size = self.config.vocab_size;
        let embed = |ids: &&[u32]| {
            assert!(ids.iter().all(|&id| (id as usize) < vocab_size), "token ids are below {vocab_size}");
            let hidden_states = self.embed_tokens.forward(ids)?;
            let rotary = self.rotary_table(ids.len(), hidden_states.dtype(), &hidden_states.device());
            Ok((hidden_states.unsqueeze::<3>(), rotary))
        };
        let mut states = prompts.iter().map(embed).collect::<Result<Vec<_>>>()?;
        for index in 0..self.config.num_hidden_layers - 1 {
            let layer = block(&self.layers, self.streamed.as_deref(), index)?;
            states = states.into_iter().map(|(state, rotary)| (layer.forward(state, &rotary), rotary)).collect();
        }
        Ok(states.into_iter().map(|(state, _)| state).collect())
    }

    fn rotary_table(&self, seq: usize, dtype: DType, device: &Device) -> RotaryTable {
        let frequencies = RotaryTable::inverse_frequencies(self.config.rope_theta, self.config.rotary_dim());
        let angles: Vec<f32> = (0..seq)
            .flat_map(|position| frequencies.iter().map(move |frequency| position as f32 * frequency))
            .collect();
        RotaryTable::from_angles(&angles, frequencies.len(), dtype, device)
    }
}

//! The CogView4 diffusion transformer (`CogView4Transformer2DModel` of diffusers 0.42.1), for base and control
//! models alike: a control model has twice the input channels.
//!
//! The forward pass is open at the seam `embed`, `block(i)`, `head`, where recomputing and streaming take hold.

mod block;
mod config;
mod embeddings;
mod output;
mod parts;
mod state;

use std::{path::Path, sync::Arc};

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};

use self::{
    embeddings::{PatchEmbed, TimeConditionEmbed, rotary_table},
    output::AdaLayerNormContinuous,
};
use crate::{
    device::each,
    error::{ModelError, Result},
    nn::Linear,
    ops::{self, AttentionMask},
    weights::{
        Block, BlockStream, DIFFUSION_WEIGHTS, LoadOptions, WeightFiles, WeightOptions, block, fill_blocks,
        is_of_blocks, load_module, save_module,
    },
};

pub(crate) use block::MODULATIONS;
pub use block::TransformerBlock;
pub use config::CogView4TransformerConfig;
pub use embeddings::SizeConditions;
pub use state::{BlockContext, BlockState, TransformerInputs};

/// What the keys of blocks begin with.
const BLOCKS: &str = "transformer_blocks";

/// The transformer; see the module's documentation.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use cogview4_model::{CogView4TransformerConfig, transformer::{SizeConditions, TransformerInputs}};
///
/// let device = Device::flex();
/// let config = CogView4TransformerConfig {
///     num_layers: 1,
///     num_attention_heads: 2,
///     attention_head_dim: 8,
///     text_embed_dim: 32,
///     ..CogView4TransformerConfig::default()
/// };
/// let model = config.init(&device).widen_input();
/// let velocity = model.forward(TransformerInputs {
///     hidden_states: Tensor::zeros([1, 32, 8, 8], &device),
///     encoder_hidden_states: Tensor::zeros([1, 16, 32], &device),
///     timesteps: &[500.0],
///     sizes: &[SizeConditions::uncropped(64, 64)],
///     hidden_text: None,
/// })?;
/// assert_eq!(velocity.dims(), [1, 16, 8, 8]);
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Module, Debug)]
pub struct CogView4Transformer {
    patch_embed: PatchEmbed,
    time_condition_embed: TimeConditionEmbed,
    transformer_blocks: Vec<TransformerBlock>,
    norm_out: AdaLayerNormContinuous,
    proj_out: Linear,
    /// The blocks behind those in memory.
    #[module(skip)]
    streamed: Option<Arc<BlockStream<TransformerBlock>>>,
    #[module(skip)]
    config: CogView4TransformerConfig,
}

impl CogView4Transformer {
    /// Builds the model on a device; nothing is allocated until the weights are loaded or used.
    pub fn init(config: &CogView4TransformerConfig, device: &Device) -> Self {
        let (width, patch) = (config.inner_dim(), config.patch_size);
        Self {
            patch_embed: PatchEmbed::init(config, device),
            time_condition_embed: TimeConditionEmbed::init(config, device),
            transformer_blocks: (0..config.num_layers).map(|_| TransformerBlock::init(config, device)).collect(),
            norm_out: AdaLayerNormContinuous::init(config, device),
            proj_out: Linear::init(width, patch * patch * config.out_channels, device),
            streamed: None,
            config: config.clone(),
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
        let config = CogView4TransformerConfig::load(&folder.join("config.json"))?;
        let files = WeightFiles::open_variant(folder, DIFFUSION_WEIGHTS, options.variant.as_deref())?;
        let load = LoadOptions {
            is_mapped: options.is_mapped,
            is_left: &|key| is_of_blocks(&files, key, BLOCKS, options),
            ..LoadOptions::all(options.dtype)
        };
        let device = options.device.clone();
        let mut model = load_module(config.init(&device), &files, load)?;
        let init = move || TransformerBlock::init(&config, &device);
        model.streamed = fill_blocks(&mut model.transformer_blocks, init, Arc::new(files), BLOCKS, options)?;
        Ok(model)
    }

    /// Writes a component folder in diffusers layout, in the type of the parameters; the folder must be there.
    ///
    /// # Errors
    /// A file that cannot be written, or a model of which blocks are not in memory.
    pub fn save(&self, folder: &Path) -> Result<()> {
        self.save_config(folder)?;
        save_module(self, folder, DIFFUSION_WEIGHTS)
    }

    /// Writes `config.json` of a component folder, beside which the weights are written.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_config(&self, folder: &Path) -> Result<()> {
        self.config_to_save()?.save(folder)
    }

    /// The configuration of a model that can be saved.
    ///
    /// # Errors
    /// A model of which blocks are not in memory, or in 8 bits.
    pub fn config_to_save(&self) -> Result<&CogView4TransformerConfig> {
        if self.streamed.is_some() || self.transformer_blocks.iter().any(TransformerBlock::is_int8) {
            let reason = "not saved: its blocks are not all in memory, or in 8 bits";
            return Err(ModelError::bad_input("transformer", reason));
        }
        Ok(&self.config)
    }

    /// Makes a control model of a base model: twice the input channels, the new half without effect, so that it draws
    /// what the base model draws until it is trained.
    #[must_use]
    pub fn widen_input(mut self) -> Self {
        self.config.in_channels *= 2;
        self.patch_embed = self.patch_embed.widen_input();
        self
    }

    /// Norm of the part of `patch_embed.proj.weight` that takes the control latents, the second half of the input
    /// channels: 0 in a base model that was just widened.
    pub fn control_norm(&self) -> f64 {
        self.patch_embed.control_norm()
    }

    /// The sizes of this model.
    pub fn config(&self) -> &CogView4TransformerConfig {
        &self.config
    }

    /// Number of blocks.
    pub fn num_blocks(&self) -> usize {
        self.config.num_layers
    }

    /// Predicts the velocity (noise minus picture), `[B, out_channels, H, W]`.
    ///
    /// # Errors
    /// A block that has to be read and cannot.
    ///
    /// # Panics
    /// As [`embed`](Self::embed).
    pub fn forward(&self, inputs: TransformerInputs<'_>) -> Result<Tensor<4>> {
        let mut outputs = self.forward_each(vec![inputs])?;
        Ok(outputs.pop().expect("invariant: an output for each input"))
    }

    /// Several predictions in one pass over the blocks: what [`forward`](Self::forward) gives for each. On the
    /// pure-Rust CPU they are computed at once.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    /// As [`embed`](Self::embed).
    pub fn forward_each(&self, inputs: Vec<TransformerInputs<'_>>) -> Result<Vec<Tensor<4>>> {
        let Some(device) = inputs.first().map(|inputs| inputs.hidden_states.device()) else { return Ok(Vec::new()) };
        let mut states = each(&device, inputs, |inputs| self.embed(inputs));
        for index in 0..self.num_blocks() {
            let block = self.block(index)?;
            states = each(&device, states, |(state, context)| (block.forward(state, &context), context));
        }
        Ok(each(&device, states, |(state, context)| self.head(state, &context)))
    }

    /// Everything before the blocks.
    ///
    /// # Panics
    /// When the shapes do not fit the configuration: channels, text width, sides that are not multiples of the
    /// patch, or timesteps and sizes that are not one per sample.
    pub fn embed(&self, inputs: TransformerInputs<'_>) -> (BlockState, BlockContext) {
        let TransformerInputs { hidden_states, encoder_hidden_states, timesteps, sizes, hidden_text } = inputs;
        let [batch, channels, height, width] = hidden_states.dims();
        let [text_batch, seq_txt, text_embed_dim] = encoder_hidden_states.dims();
        let config = &self.config;
        assert_eq!(channels, config.in_channels, "latent channels");
        assert_eq!(text_embed_dim, config.text_embed_dim, "width of the text embeddings");
        assert!(height % config.patch_size == 0 && width % config.patch_size == 0, "sides are multiples of the patch");
        assert_eq!([text_batch, timesteps.len(), sizes.len()], [batch; 3], "one text, timestep and size per sample");

        let (dtype, device) = (hidden_states.dtype(), hidden_states.device());
        let patch_grid = [height / config.patch_size, width / config.patch_size];
        let image_rotary_emb = rotary_table(config, seq_txt, patch_grid, dtype, &device);
        let temb = ops::silu(self.time_condition_embed.forward(timesteps, sizes, dtype, &device));
        let mask = match hidden_text {
            None => AttentionMask::None,
            Some(hidden) => {
                let shown = Tensor::full([batch, patch_grid[0] * patch_grid[1]], false, &device);
                AttentionMask::Keys(Tensor::cat(vec![hidden, shown], 1))
            }
        };
        let [hidden_states, encoder_hidden_states] = self.patch_embed.forward(hidden_states, encoder_hidden_states);
        let state = BlockState { joint: Tensor::cat(vec![encoder_hidden_states, hidden_states], 1) };
        (state, BlockContext { temb, image_rotary_emb, mask, seq_txt, patch_grid })
    }

    /// Block `index`. One that is not kept in memory is read, if that was not begun already; it should be dropped
    /// before the next is asked for.
    ///
    /// # Errors
    /// A file that cannot be read.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn block(&self, index: usize) -> Result<Block<'_, TransformerBlock>> {
        block(&self.transformer_blocks, self.streamed.as_deref(), index)
    }

    /// Everything after the blocks: `[B, out_channels, H, W]`.
    pub fn head(&self, state: BlockState, context: &BlockContext) -> Tensor<4> {
        let hidden_states = self.norm_out.forward(state.hidden_states(context), context.temb.clone());
        let hidden_states = self.proj_out.forward(hidden_states); // [B, patches, C * patch * patch]
        let [batch, ..] = hidden_states.dims();
        let ([rows, columns], patch, channels) = (context.patch_grid, self.config.patch_size, self.config.out_channels);
        hidden_states
            .reshape([batch, rows, columns, channels, patch, patch])
            .permute([0, 3, 1, 4, 2, 5]) // [B, C, rows, patch, columns, patch]
            .reshape([batch, channels, rows * patch, columns * patch])
    }
}

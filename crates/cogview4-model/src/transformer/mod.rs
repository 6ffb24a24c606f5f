//! The CogView4 diffusion transformer (`CogView4Transformer2DModel` of diffusers 0.42.1), for base and control
//! models alike: a control model has twice the input channels.
//!
//! The forward pass is open at the seam `embed`, `block(i)`, `head`, where recomputing and streaming take hold.

mod block;
mod config;
mod embeddings;

use std::path::Path;

use burn::{
    module::Module,
    tensor::{Bool, DType, Device, Tensor},
};

use self::{
    block::{NORM_EPS, TransformerBlock},
    embeddings::{PatchEmbed, TimeConditionEmbed, rotary_table},
};
use crate::{
    error::Result,
    files::write_atomic,
    nn::Linear,
    ops::{self, AttentionMask, RotaryTable},
    weights::{LoadOptions, WeightFiles, load_module, save_module},
};

pub use config::CogView4TransformerConfig;
pub use embeddings::SizeConditions;

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
/// });
/// assert_eq!(velocity.dims(), [1, 16, 8, 8]);
/// ```
#[derive(Module, Debug)]
pub struct CogView4Transformer {
    patch_embed: PatchEmbed,
    time_condition_embed: TimeConditionEmbed,
    transformer_blocks: Vec<TransformerBlock>,
    norm_out: AdaLayerNormContinuous,
    proj_out: Linear,
    #[module(skip)]
    config: CogView4TransformerConfig,
}

/// What the transformer is given.
#[derive(Debug, Clone)]
pub struct TransformerInputs<'a> {
    /// Noisy latents, with the control latents behind them on the channel axis: `[B, in_channels, H, W]`.
    pub hidden_states: Tensor<4>,
    /// Text embeddings, `[B, S, text_embed_dim]`.
    pub encoder_hidden_states: Tensor<3>,
    /// Unshifted timesteps in [0, 1000], one a sample.
    pub timesteps: &'a [f32],
    /// Sizes, one a sample.
    pub sizes: &'a [SizeConditions],
    /// Text tokens that nobody may see, `[B, S]`, true = hidden; `None` shows all.
    pub hidden_text: Option<Tensor<2, Bool>>,
}

impl TransformerInputs<'_> {
    /// The same values on the device with autodiff, untracked.
    #[must_use]
    pub fn from_inner(self) -> Self {
        Self {
            hidden_states: Tensor::from_inner(self.hidden_states),
            encoder_hidden_states: Tensor::from_inner(self.encoder_hidden_states),
            hidden_text: self.hidden_text.map(Tensor::from_inner),
            ..self
        }
    }
}

/// What flows through the blocks.
#[derive(Debug, Clone)]
pub struct BlockState {
    /// Patches, `[B, patches, D]`.
    pub hidden_states: Tensor<3>,
    /// Text, `[B, S, D]`.
    pub encoder_hidden_states: Tensor<3>,
}

/// What all blocks share.
#[derive(Debug, Clone)]
pub struct BlockContext {
    /// Conditioning from timestep and sizes, `[B, time_embed_dim]`, after its SiLU.
    pub temb: Tensor<2>,
    /// Rotary positions of text and patches.
    pub image_rotary_emb: RotaryTable,
    /// What the joint attention may not see.
    pub mask: AttentionMask,
    /// Number of text tokens.
    pub seq_txt: usize,
    /// Rows and columns of patches.
    pub patch_grid: [usize; 2],
}

impl BlockState {
    /// The same values without a graph.
    #[must_use]
    pub fn inner(self) -> Self {
        Self { hidden_states: self.hidden_states.inner(), encoder_hidden_states: self.encoder_hidden_states.inner() }
    }
}

impl BlockContext {
    /// The same values on the device without autodiff.
    #[must_use]
    pub fn inner(self) -> Self {
        let RotaryTable { cos, sin } = self.image_rotary_emb;
        Self {
            temb: self.temb.inner(),
            image_rotary_emb: RotaryTable { cos: cos.inner(), sin: sin.inner() },
            mask: match self.mask {
                AttentionMask::Keys(hidden) => AttentionMask::Keys(hidden.inner()),
                other => other,
            },
            ..self
        }
    }

    /// The same values on the device with autodiff, untracked.
    #[must_use]
    pub fn from_inner(self) -> Self {
        let RotaryTable { cos, sin } = self.image_rotary_emb;
        Self {
            temb: Tensor::from_inner(self.temb),
            image_rotary_emb: RotaryTable { cos: Tensor::from_inner(cos), sin: Tensor::from_inner(sin) },
            mask: match self.mask {
                AttentionMask::Keys(hidden) => AttentionMask::Keys(Tensor::from_inner(hidden)),
                other => other,
            },
            ..self
        }
    }
}

impl CogView4Transformer {
    /// Builds the model on a device; nothing is allocated until the weights are loaded or used.
    pub fn init(config: &CogView4TransformerConfig, device: &Device) -> Self {
        let (width, patch) = (config.inner_dim(), config.patch_size);
        Self {
            patch_embed: PatchEmbed::init(config, device),
            time_condition_embed: TimeConditionEmbed::init(config, device),
            transformer_blocks: (0..config.num_layers).map(|_| TransformerBlock::init(config, device)).collect(),
            norm_out: AdaLayerNormContinuous { linear: Linear::init(config.time_embed_dim, 2 * width, device) },
            proj_out: Linear::init(width, patch * patch * config.out_channels, device),
            config: config.clone(),
        }
    }

    /// Loads a component folder in diffusers layout (`config.json`, `diffusion_pytorch_model*.safetensors`).
    ///
    /// # Errors
    /// A missing or broken file, or weights that are not exactly those of the configuration.
    pub fn load(folder: &Path, dtype: DType, device: &Device) -> Result<Self> {
        let config = CogView4TransformerConfig::load(&folder.join("config.json"))?;
        let files = WeightFiles::open(folder, "diffusion_pytorch_model")?;
        load_module(config.init(device), &files, LoadOptions { dtype, prefix: "", may_ignore: &|_| false })
    }

    /// Writes a component folder in diffusers layout, in the type of the parameters; the folder must be there.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        write_atomic(&folder.join("config.json"), self.config.to_json().as_bytes())?;
        save_module(self, folder, "diffusion_pytorch_model")
    }

    /// Makes a control model of a base model: twice the input channels, the new half without effect, so that it draws
    /// what the base model draws until it is trained.
    #[must_use]
    pub fn widen_input(mut self) -> Self {
        self.config.in_channels *= 2;
        self.patch_embed = self.patch_embed.widen_input();
        self
    }

    /// Norm of the part of `patch_embed.proj.weight` that takes the control latents, the second half of the input channels:
    /// 0 in a base model that was just widened.
    pub fn control_norm(&self) -> f64 {
        self.patch_embed.control_norm()
    }

    /// The sizes of this model.
    pub fn config(&self) -> &CogView4TransformerConfig {
        &self.config
    }

    /// Number of blocks.
    pub fn num_blocks(&self) -> usize {
        self.transformer_blocks.len()
    }

    /// Predicts the velocity (noise minus picture), `[B, out_channels, H, W]`.
    ///
    /// # Panics
    /// As [`embed`](Self::embed).
    pub fn forward(&self, inputs: TransformerInputs<'_>) -> Tensor<4> {
        let (mut state, context) = self.embed(inputs);
        for index in 0..self.num_blocks() {
            state = self.block(index, state, &context);
        }
        self.head(state, &context)
    }

    /// Everything before the blocks.
    ///
    /// # Panics
    /// When the shapes do not fit the configuration: channels, text width, sides that are not multiples of the
    /// patch, or timesteps and sizes that are not one a sample.
    pub fn embed(&self, inputs: TransformerInputs<'_>) -> (BlockState, BlockContext) {
        let TransformerInputs { hidden_states, encoder_hidden_states, timesteps, sizes, hidden_text } = inputs;
        let [batch, channels, height, width] = hidden_states.dims();
        let [text_batch, seq_txt, text_embed_dim] = encoder_hidden_states.dims();
        let config = &self.config;
        assert_eq!(channels, config.in_channels, "latent channels");
        assert_eq!(text_embed_dim, config.text_embed_dim, "width of the text embeddings");
        assert!(height % config.patch_size == 0 && width % config.patch_size == 0, "sides are multiples of the patch");
        assert_eq!([text_batch, timesteps.len(), sizes.len()], [batch; 3], "one text, timestep and size a sample");

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
        let state = BlockState { hidden_states, encoder_hidden_states };
        (state, BlockContext { temb, image_rotary_emb, mask, seq_txt, patch_grid })
    }

    /// Block `index`.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn block(&self, index: usize, state: BlockState, context: &BlockContext) -> BlockState {
        self.transformer_blocks[index].forward(state, context)
    }

    /// Everything after the blocks: `[B, out_channels, H, W]`.
    pub fn head(&self, state: BlockState, context: &BlockContext) -> Tensor<4> {
        let hidden_states = self.norm_out.forward(state.hidden_states, context.temb.clone());
        let hidden_states = self.proj_out.forward(hidden_states); // [B, patches, C * patch * patch]
        let [batch, ..] = hidden_states.dims();
        let ([rows, columns], patch, channels) = (context.patch_grid, self.config.patch_size, self.config.out_channels);
        hidden_states
            .reshape([batch, rows, columns, channels, patch, patch])
            .permute([0, 3, 1, 4, 2, 5]) // [B, C, rows, patch, columns, patch]
            .reshape([batch, channels, rows * patch, columns * patch])
    }
}

/// The last norm, modulated by the conditioning.
#[derive(Module, Debug)]
struct AdaLayerNormContinuous {
    linear: Linear,
}

impl AdaLayerNormContinuous {
    fn forward(&self, hidden_states: Tensor<3>, temb: Tensor<2>) -> Tensor<3> {
        let emb = self.linear.forward(temb).unsqueeze_dim::<3>(1);
        let width = hidden_states.dims()[2];
        let (scale, shift) = (emb.clone().narrow(2, 0, width), emb.narrow(2, width, width));
        ops::modulate(hidden_states, scale, shift, NORM_EPS)
    }
}

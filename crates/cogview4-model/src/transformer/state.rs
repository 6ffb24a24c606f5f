//! What the transformer is given, and what passes between its parts.

use burn::tensor::{Bool, Tensor};

use super::SizeConditions;
use crate::ops::{AttentionMask, RotaryTable};

/// What the transformer is given.
#[derive(Debug, Clone)]
pub struct TransformerInputs<'a> {
    /// Noisy latents, with the control latents behind them on the channel axis: `[B, in_channels, H, W]`.
    pub hidden_states: Tensor<4>,
    /// Text embeddings, `[B, S, text_embed_dim]`.
    pub encoder_hidden_states: Tensor<3>,
    /// Unshifted timesteps in [0, 1000], one per sample.
    pub timesteps: &'a [f32],
    /// Sizes, one per sample.
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

/// What flows through the blocks: text and patches in one tensor, as the joint attention has them, so that blocks neither
/// join nor part them.
#[derive(Debug, Clone)]
pub struct BlockState {
    /// Text first, `[B, S + patches, D]`.
    pub joint: Tensor<3>,
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
        Self { joint: self.joint.inner() }
    }

    /// The text, `[B, S, D]`.
    pub fn encoder_hidden_states(&self, context: &BlockContext) -> Tensor<3> {
        self.joint.clone().narrow(1, 0, context.seq_txt)
    }

    /// The patches, `[B, patches, D]`.
    pub fn hidden_states(&self, context: &BlockContext) -> Tensor<3> {
        let seq_img = self.joint.dims()[1] - context.seq_txt;
        self.joint.clone().narrow(1, context.seq_txt, seq_img)
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

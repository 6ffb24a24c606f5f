//! What follows the blocks (`norm_out`). Source: `models/transformers/transformer_cogview4.py`.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{CogView4TransformerConfig, block::NORM_EPS};
use crate::{nn::Linear, ops};

/// The last norm, modulated by the conditioning.
#[derive(Module, Debug)]
pub(super) struct AdaLayerNormContinuous {
    linear: Linear,
}

impl AdaLayerNormContinuous {
    pub(super) fn init(config: &CogView4TransformerConfig, device: &Device) -> Self {
        Self { linear: Linear::init(config.time_embed_dim, 2 * config.inner_dim(), device) }
    }

    pub(super) fn forward(&self, hidden_states: Tensor<3>, temb: Tensor<2>) -> Tensor<3> {
        let emb = self.linear.forward(temb).unsqueeze_dim::<3>(1);
        let width = hidden_states.dims()[2];
        let (scale, shift) = (emb.clone().narrow(2, 0, width), emb.narrow(2, width, width));
        ops::modulate(hidden_states, scale, shift, 0, NORM_EPS)
    }
}

//! One decoder layer of GLM-4. Source: `models/glm/modeling_glm.py` of transformers.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::GlmConfig;
use crate::{
    nn::{Linear, RmsNorm},
    ops::{self, AttentionMask, RotaryTable, rotate_pairs},
    weights::HasLinears,
};

/// Causal attention, then a gated feed-forward, each behind a norm and beside a shortcut.
#[derive(Module, Debug)]
pub(super) struct GlmDecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: GlmAttention,
    post_attention_layernorm: RmsNorm,
    mlp: GlmMlp,
}

impl GlmDecoderLayer {
    pub(super) fn init(config: &GlmConfig, device: &Device) -> Self {
        let norm = || RmsNorm::init(config.hidden_size, config.rms_norm_eps, device);
        Self {
            input_layernorm: norm(),
            self_attn: GlmAttention::init(config, device),
            post_attention_layernorm: norm(),
            mlp: GlmMlp::init(config, device),
        }
    }

    /// `[B, S, D]`, unchanged.
    pub(super) fn forward(&self, hidden_states: Tensor<3>, rotary: &RotaryTable) -> Tensor<3> {
        let attention = self.self_attn.forward(self.input_layernorm.forward(hidden_states.clone()), rotary);
        let hidden_states = hidden_states + attention;
        let output = self.mlp.forward(self.post_attention_layernorm.forward(hidden_states.clone()));
        hidden_states + output
    }
}

impl HasLinears for GlmDecoderLayer {
    fn linears(&mut self) -> Vec<(&'static str, &mut Linear)> {
        let (attention, mlp) = (&mut self.self_attn, &mut self.mlp);
        vec![
            ("self_attn.q_proj", &mut attention.q_proj),
            ("self_attn.k_proj", &mut attention.k_proj),
            ("self_attn.v_proj", &mut attention.v_proj),
            ("self_attn.o_proj", &mut attention.o_proj),
            ("mlp.gate_up_proj", &mut mlp.gate_up_proj),
            ("mlp.down_proj", &mut mlp.down_proj),
        ]
    }
}

#[derive(Module, Debug)]
struct GlmAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    #[module(skip)]
    head_dim: usize,
}

impl GlmAttention {
    fn init(config: &GlmConfig, device: &Device) -> Self {
        let projection = |heads: usize| {
            let output = heads * config.head_dim;
            if config.attention_bias {
                Linear::init(config.hidden_size, output, device)
            } else {
                Linear::init_no_bias(config.hidden_size, output, device)
            }
        };
        Self {
            q_proj: projection(config.num_attention_heads),
            k_proj: projection(config.num_key_value_heads),
            v_proj: projection(config.num_key_value_heads),
            o_proj: Linear::init_no_bias(config.num_attention_heads * config.head_dim, config.hidden_size, device),
            head_dim: config.head_dim,
        }
    }

    fn forward(&self, hidden_states: Tensor<3>, rotary: &RotaryTable) -> Tensor<3> {
        let [batch, seq, _] = hidden_states.dims();
        let heads = |linear: &Linear| {
            let output = linear.forward(hidden_states.clone());
            let count = output.dims()[2] / self.head_dim;
            output.reshape([batch, seq, count, self.head_dim]).swap_dims(1, 2)
        };
        let query = rotate_pairs(heads(&self.q_proj), rotary);
        let key = rotate_pairs(heads(&self.k_proj), rotary);
        let output = ops::attention(query, key, heads(&self.v_proj), &AttentionMask::Causal); // [B, N, S, head_dim]
        let width = output.dims()[1] * self.head_dim;
        self.o_proj.forward(output.swap_dims(1, 2).reshape([batch, seq, width]))
    }
}

#[derive(Module, Debug)]
struct GlmMlp {
    gate_up_proj: Linear,
    down_proj: Linear,
}

impl GlmMlp {
    fn init(config: &GlmConfig, device: &Device) -> Self {
        Self {
            gate_up_proj: Linear::init_no_bias(config.hidden_size, 2 * config.intermediate_size, device),
            down_proj: Linear::init_no_bias(config.intermediate_size, config.hidden_size, device),
        }
    }

    fn forward(&self, hidden_states: Tensor<3>) -> Tensor<3> {
        let gate_up = self.gate_up_proj.forward(hidden_states);
        let width = gate_up.dims()[2] / 2;
        let (gate, up) = (gate_up.clone().narrow(2, 0, width), gate_up.narrow(2, width, width));
        self.down_proj.forward(up * ops::silu(gate))
    }
}

//! One block: adaptive layer norm, joint attention over text and patches, feed-forward.
//! Keys: `transformer_blocks.N.{norm1.linear, attn1.{to_q,to_k,to_v,to_out.0}, ff.net.{0.proj,2}}`.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{BlockContext, BlockState, CogView4TransformerConfig};
use crate::{nn::Linear, ops, weights::HasLinears};

/// Epsilon of the norms without weights.
pub(super) const NORM_EPS: f64 = 1e-5;
/// Shift, scale and gate of attention and feed-forward, for patches and for text.
pub(crate) const MODULATIONS: usize = 12;

/// A CogView4 transformer block.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    norm1: AdaLayerNormZero,
    attn1: Attention,
    ff: FeedForward,
}

impl TransformerBlock {
    pub(crate) fn init(config: &CogView4TransformerConfig, device: &Device) -> Self {
        let width = config.inner_dim();
        Self {
            norm1: AdaLayerNormZero { linear: Linear::init(config.time_embed_dim, MODULATIONS * width, device) },
            attn1: Attention::init(width, config.num_attention_heads, device),
            ff: FeedForward::init(width, device),
        }
    }

    /// Whether weights are in 8 bits.
    pub(super) fn is_int8(&self) -> bool {
        self.attn1.to_q.quantized.is_some()
    }

    /// What flows through, after this block.
    pub fn forward(&self, state: BlockState, context: &BlockContext) -> BlockState {
        let (BlockState { joint }, seq_txt) = (state, context.seq_txt);
        // 1. Modulations
        let [attention, feed_forward] = self.norm1.forward(context.temb.clone());

        // 2. Attention over text and patches together
        let attended = self.attn1.forward(attention.modulate(joint.clone(), seq_txt), context);
        let joint = attention.gated_add(joint, attended, seq_txt);

        // 3. Feed-forward, token by token
        let fed = self.ff.forward(feed_forward.modulate(joint.clone(), seq_txt));
        BlockState { joint: feed_forward.gated_add(joint, fed, seq_txt) }
    }
}

impl HasLinears for TransformerBlock {
    fn linears(&mut self) -> Vec<(&'static str, &mut Linear)> {
        let Attention { to_q, to_k, to_v, to_out: [to_out], .. } = &mut self.attn1;
        let (GeluProj { proj }, _, output) = &mut self.ff.net;
        vec![
            ("norm1.linear", &mut self.norm1.linear),
            ("attn1.to_q", to_q),
            ("attn1.to_k", to_k),
            ("attn1.to_v", to_v),
            ("attn1.to_out.0", to_out),
            ("ff.net.0.proj", proj),
            ("ff.net.2", output),
        ]
    }
}

/// Computes all modulations of a block from the conditioning.
#[derive(Module, Debug)]
struct AdaLayerNormZero {
    linear: Linear,
}

/// `[B, 2, D]` each, of patches and text.
struct Modulation {
    shift: Tensor<3>,
    scale: Tensor<3>,
    gate: Tensor<3>,
}

impl AdaLayerNormZero {
    /// `[B, time_embed_dim]` to the modulations of attention and feed-forward.
    fn forward(&self, temb: Tensor<2>) -> [Modulation; 2] {
        let emb = self.linear.forward(temb);
        let [batch, width] = emb.dims();
        let emb = emb.reshape([batch, MODULATIONS, width / MODULATIONS]);
        // In the checkpoint: shift, scale and gate of attention, then of feed-forward, patches before text each time.
        let pair = |index: usize| emb.clone().narrow(1, index, 2);
        [0, 6].map(|start| Modulation { shift: pair(start), scale: pair(start + 2), gate: pair(start + 4) })
    }
}

impl Modulation {
    fn modulate(&self, joint: Tensor<3>, seq_txt: usize) -> Tensor<3> {
        ops::modulate(joint, self.scale.clone(), self.shift.clone(), seq_txt, NORM_EPS)
    }

    fn gated_add(&self, joint: Tensor<3>, output: Tensor<3>, seq_txt: usize) -> Tensor<3> {
        ops::gated_add(joint, output, self.gate.clone(), seq_txt)
    }
}

/// Attention with normalised queries and keys; no weights in those norms.
#[derive(Module, Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: [Linear; 1],
    #[module(skip)]
    heads: usize,
}

impl Attention {
    fn init(width: usize, heads: usize, device: &Device) -> Self {
        let linear = || Linear::init(width, width, device);
        Self { to_q: linear(), to_k: linear(), to_v: linear(), to_out: [linear()], heads }
    }

    fn forward(&self, hidden_states: Tensor<3>, context: &BlockContext) -> Tensor<3> {
        let [batch, seq, width] = hidden_states.dims();
        let split_heads = |input: Tensor<3>| input.reshape([batch, seq, self.heads, width / self.heads]);
        let turned = |linear: &Linear| {
            let heads = split_heads(linear.forward(hidden_states.clone()));
            ops::norm_rotate(heads, &context.image_rotary_emb, NORM_EPS)
        };
        let (query, key) = (turned(&self.to_q), turned(&self.to_k));
        let value = split_heads(self.to_v.forward(hidden_states.clone())).swap_dims(1, 2);
        let output = ops::attention(query, key, value, &context.mask); // [B, N, S, head_dim]
        self.to_out[0].forward(output.swap_dims(1, 2).reshape([batch, seq, width]))
    }
}

/// Linear, GELU, linear, four times as wide inside.
#[derive(Module, Debug)]
struct FeedForward {
    /// Index 1 is a dropout in the reference: it has no weights.
    net: (GeluProj, Dropout, Linear),
}

#[derive(Module, Debug)]
struct GeluProj {
    proj: Linear,
}

/// Keeps the place of the reference's dropout, which is never active.
#[derive(Module, Debug)]
struct Dropout;

impl FeedForward {
    fn init(width: usize, device: &Device) -> Self {
        let proj = Linear::init(width, 4 * width, device);
        Self { net: (GeluProj { proj }, Dropout, Linear::init(4 * width, width, device)) }
    }

    fn forward(&self, hidden_states: Tensor<3>) -> Tensor<3> {
        self.net.2.forward(ops::gelu_tanh(self.net.0.proj.forward(hidden_states)))
    }
}

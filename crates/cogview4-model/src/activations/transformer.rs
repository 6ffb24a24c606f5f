//! What the diffusion transformer holds: see `transformer::block`.

use super::{ActivationSettings, Cost, most, ops};
use crate::CogView4TransformerConfig;

/// Lengths of what goes through the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceLengths {
    /// Samples.
    pub batch: usize,
    /// Tokens of text.
    pub seq_txt: usize,
    /// Patches.
    pub seq_img: usize,
}

impl CogView4TransformerConfig {
    /// One pass through the model, of one branch of the guidance, weights not counted.
    pub fn activations(&self, lengths: SequenceLengths, settings: ActivationSettings) -> Cost {
        let SequenceLengths { batch, seq_txt, seq_img } = lengths;
        let [batch, seq, width] = [batch, seq_txt + seq_img, self.inner_dim()].map(|size| size as u64);
        let (tokens, size) = (batch * seq, settings.size());
        let joint = tokens * width * size;
        // Text and patches, and both joined: they are there while queries, keys and values are.
        let projected = 5 * joint;
        let attention = 2 * joint + ops::attention(settings, [tokens * width; 2], seq);
        // Four times as wide within; GELU works in place where it need not be widened.
        let feed_forward = joint + if settings.is_wide() { 5 * joint } else { 8 * joint };
        let rotary = 2 * seq * self.attention_head_dim as u64 / 2 * size;
        let text = (batch as usize * seq_txt * self.text_embed_dim) as u64 * size;
        let bytes = most([projected, attention, feed_forward]) + rotary + text;

        let (width, tokens) = (width as f64, tokens as f64);
        // Four projections and twice four times the width; scores and what they weigh.
        let block = 2.0 * tokens * 12.0 * width * width + 4.0 * tokens * seq as f64 * width;
        Cost { bytes, flops: block * self.num_layers as f64 }
    }
}

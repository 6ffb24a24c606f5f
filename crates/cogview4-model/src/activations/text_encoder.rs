//! What the text encoder holds: see `text_encoder::layer`.

use super::{ActivationSettings, Cost, most, ops};
use crate::GlmConfig;

impl GlmConfig {
    /// One prompt of so many tokens through the layers that are used, weights not counted.
    pub fn activations(&self, tokens: usize, settings: ActivationSettings) -> Cost {
        let [seq, width, inner] = [tokens, self.hidden_size, self.intermediate_size].map(|size| size as u64);
        let [heads, kv_heads, head_dim] =
            [self.num_attention_heads, self.num_key_value_heads, self.head_dim].map(|size| size as u64);
        let (query, key) = (heads * head_dim, kv_heads * head_dim);
        let size = settings.size();
        let hidden = seq * width * size;
        // Turned pairs are joined with what is not turned, while what they were turned from is there.
        let rotary = 2 * hidden + 3 * seq * query * size;
        let attention = 2 * hidden + ops::attention(settings, [seq * query, seq * key], seq);
        // Gate and up side by side; the gate's activation.
        let gated = hidden + seq * inner * size * if settings.is_wide() { 3 } else { 4 };
        let bytes = most([rotary, attention, gated, 3 * hidden]);

        let weights = width * (2 * query + 2 * key + 3 * inner);
        let layer = 2.0 * seq as f64 * weights as f64 + 2.0 * (seq * seq * query) as f64;
        Cost { bytes, flops: layer * self.num_hidden_layers.saturating_sub(1) as f64 }
    }
}

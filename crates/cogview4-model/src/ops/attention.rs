//! Scaled dot-product attention: the one place that knows the backends' mask conventions.

use burn::tensor::{Bool, Tensor, module, ops::AttentionModuleOptions};

use super::fused;

/// What a query may not see.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one per forward pass")]
pub enum AttentionMask {
    /// Every query sees every key.
    None,
    /// A query sees keys up to its own position.
    Causal,
    /// Hidden keys, `[B, S]`, true = hidden. At least one key of each row must be seen.
    Keys(Tensor<2, Bool>),
}

/// `softmax(q k^T / sqrt(head_dim)) v`.
///
/// # Shapes
/// `query` `[B, N, S, head_dim]`; `key` and `value` `[B, N_kv, S, head_dim]`, where `N_kv` divides `N` and each of
/// their heads serves `N / N_kv` queries. The result is `[B, N, S, head_dim]`.
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, mask: &AttentionMask) -> Tensor<4> {
    let (device, [batch, heads, seq_query, _]) = (query.device(), query.dims());
    if fused::serves_attention(&device) || device.is_autodiff() {
        let is_causal = matches!(mask, AttentionMask::Causal);
        let bias = match mask {
            AttentionMask::None | AttentionMask::Causal => None,
            AttentionMask::Keys(hidden) => Some(hidden_bias(hidden, &query)),
        };
        let (key, value) = match fused::shares_heads(&query) {
            true => (key, value),
            false => (repeat_heads(key, heads), repeat_heads(value, heads)),
        };
        return fused::attention(query, key, value, bias, is_causal);
    }
    let (key, value) = (repeat_heads(key, heads), repeat_heads(value, heads));
    let seq_key = key.dims()[2];
    let hidden = match mask {
        AttentionMask::Keys(hidden) => {
            let hidden = hidden.clone().reshape([batch, 1, 1, seq_key]);
            Some(hidden.expand([batch, heads, seq_query, seq_key]))
        }
        AttentionMask::None | AttentionMask::Causal => None,
    };
    let options = AttentionModuleOptions {
        is_causal: matches!(mask, AttentionMask::Causal),
        ..AttentionModuleOptions::default()
    };
    module::attention(query, key, value, hidden, None, options)
}

/// `[B, 1, 1, S]`, minus infinity at hidden keys.
fn hidden_bias(hidden: &Tensor<2, Bool>, query: &Tensor<4>) -> Tensor<4> {
    let [batch, seq_key] = hidden.dims();
    let zeros: Tensor<2> = Tensor::zeros([batch, seq_key], (&query.device(), query.dtype()));
    zeros.mask_fill(hidden.clone(), f32::NEG_INFINITY).reshape([batch, 1, 1, seq_key])
}

/// Repeats each head in place, so that there are `heads` of them.
fn repeat_heads(input: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, own_heads, seq, head_dim] = input.dims();
    if own_heads == heads {
        return input;
    }
    let input = input.reshape([batch, own_heads, 1, seq, head_dim]);
    let input = input.expand([batch, own_heads, heads / own_heads, seq, head_dim]);
    input.reshape([batch, heads, seq, head_dim])
}

//! What the diffusion transformer weighs, computes and holds, counted from the sizes of its layers.
//!
//! `main.rs` holds these counts against the module itself and against the trainer's own plan.

/// Floating-point operations of a multiplication and an addition.
const MULTIPLY_ADD: f64 = 2.0;
/// Forward passes that a block costs with `--gradient_checkpointing`: one, one again, and two for both gradients.
pub(crate) const PASSES_WITH_RECOMPUTE: f64 = 4.0;
/// Forward passes that a model costs without recomputing, by which MFU is defined.
pub(crate) const PASSES_OF_THE_MODEL: f64 = 3.0;
/// Pixels along a side of a latent pixel.
const VAE_SCALE: usize = 8;
/// Tensors of the joint sequence that are alive at the fullest moment of a block's backward: twenty of its graph and
/// six gradients, with attention that keeps no scores.
const JOINT_TENSORS: u64 = 26;
/// Shift, scale and gate of attention and feed-forward, for patches and for text.
const MODULATIONS: u64 = 12;

/// Sizes of the transformer: those of its `config.json` that decide what it weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) num_layers: u64,
    pub(crate) inner_dim: u64,
    pub(crate) patch_size: u64,
    pub(crate) in_channels: u64,
    pub(crate) out_channels: u64,
    pub(crate) text_embed_dim: u64,
    pub(crate) time_embed_dim: u64,
    pub(crate) condition_dim: u64,
}

/// The released CogView4-6B with the 32 input channels of a control model.
pub(crate) const RELEASED: Sizes = Sizes {
    num_layers: 28,
    inner_dim: 32 * 128,
    patch_size: 2,
    in_channels: 32,
    out_channels: 16,
    text_embed_dim: 4096,
    time_embed_dim: 512,
    condition_dim: 256,
};

/// A micro-batch of one rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) samples: usize,
    /// Side of the pictures, in pixels.
    pub(crate) resolution: usize,
    /// Tokens of text a sample, padded.
    pub(crate) text_tokens: usize,
}

/// Weight and bias of a linear layer.
fn linear(input: u64, output: u64) -> u64 {
    input * output + output
}

impl Sizes {
    /// Parameters of a block: modulations, four projections of the attention, two layers of the feed-forward.
    pub(crate) fn block_parameters(&self) -> u64 {
        let width = self.inner_dim;
        let norm1 = linear(self.time_embed_dim, MODULATIONS * width);
        let feed_forward = linear(width, 4 * width) + linear(4 * width, width);
        norm1 + 4 * linear(width, width) + feed_forward
    }

    /// Parameters of what is in no block.
    pub(crate) fn outside_parameters(&self) -> u64 {
        let (width, time) = (self.inner_dim, self.time_embed_dim);
        let patch = self.patch_size * self.patch_size;
        let patch_embed = linear(patch * self.in_channels, width) + linear(self.text_embed_dim, width);
        let timestep_embedder = linear(width, time) + linear(time, time);
        let condition_embedder = linear(6 * self.condition_dim, time) + linear(time, time);
        let head = linear(time, 2 * width) + linear(width, patch * self.out_channels);
        patch_embed + timestep_embedder + condition_embedder + head
    }

    pub(crate) fn parameters(&self) -> u64 {
        self.unit_parameters().iter().sum()
    }

    /// Parameters of each unit of the exchange, in its order: the blocks, the last first, then what is in none.
    pub(crate) fn unit_parameters(&self) -> Vec<u64> {
        let mut units = vec![self.block_parameters(); self.num_layers as usize];
        units.push(self.outside_parameters());
        units
    }

    fn patches(&self, batch: Batch) -> u64 {
        let side = batch.resolution / VAE_SCALE / self.patch_size as usize;
        (side * side) as u64
    }

    /// Tokens of text and patches of one sample.
    fn sequence(&self, batch: Batch) -> u64 {
        self.patches(batch) + batch.text_tokens as u64
    }

    /// Forward operations of one block: products with its matrices, then scores and what they weigh. Modulations are
    /// computed once a sample, not a token, and are left out, as in the trainer's plan.
    pub(crate) fn block_flops(&self, batch: Batch) -> f64 {
        let (samples, sequence, width) = (batch.samples as f64, self.sequence(batch) as f64, self.inner_dim as f64);
        let products = 12.0 * sequence * width * width;
        let attention = 2.0 * sequence * sequence * width;
        MULTIPLY_ADD * samples * (products + attention)
    }

    /// Forward operations of what is in no block.
    pub(crate) fn outside_flops(&self, batch: Batch) -> f64 {
        let patch = self.patch_size * self.patch_size;
        let of_patches = self.patches(batch) * patch * (self.in_channels + self.out_channels);
        let of_text = batch.text_tokens as u64 * self.text_embed_dim;
        MULTIPLY_ADD * batch.samples as f64 * ((of_patches + of_text) * self.inner_dim) as f64
    }

    /// Forward operations of a micro-batch.
    pub(crate) fn forward_flops(&self, batch: Batch) -> f64 {
        self.num_layers as f64 * self.block_flops(batch) + self.outside_flops(batch)
    }

    /// Bytes of activations in bfloat16 with `--gradient_checkpointing`, gradients of weights not counted: the input
    /// of each block, and the graph of one.
    pub(crate) fn activation_bytes(&self, batch: Batch) -> u64 {
        let joint = 2 * batch.samples as u64 * self.sequence(batch) * self.inner_dim;
        (self.num_layers + JOINT_TENSORS) * joint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Batch = Batch { samples: 8, resolution: 1024, text_tokens: 128 };

    #[test]
    fn the_released_model_has_6_4_billion_parameters() {
        assert_eq!(RELEASED.block_parameters(), 226_578_432);
        assert_eq!(RELEASED.outside_parameters(), 25_184_320);
        assert_eq!(RELEASED.parameters(), 6_369_380_416);
        let base = Sizes { in_channels: 16, ..RELEASED };
        assert_eq!(RELEASED.parameters() - base.parameters(), 4 * 16 * 4096);
    }

    #[test]
    fn operations_are_about_two_a_parameter_and_token() {
        let tokens = BATCH.samples as f64 * RELEASED.sequence(BATCH) as f64;
        let modulations = RELEASED.num_layers * linear(512, 12 * 4096);
        let of_products = 2.0 * (RELEASED.parameters() - modulations) as f64 * tokens;
        let attention = 28.0 * 4.0 * 4096.0 * tokens * RELEASED.sequence(BATCH) as f64;
        let ratio = RELEASED.forward_flops(BATCH) / (of_products + attention);
        assert!((0.99..1.01).contains(&ratio), "{ratio}");
    }

    #[test]
    fn costs_grow_with_samples_in_proportion_and_with_pixels_faster() {
        let one = Batch { samples: 1, ..BATCH };
        let large = Batch { resolution: 2048, ..BATCH };
        assert!((RELEASED.forward_flops(BATCH) / RELEASED.forward_flops(one) - 8.0).abs() < 1e-9);
        assert_eq!(RELEASED.activation_bytes(BATCH), 8 * RELEASED.activation_bytes(one));
        assert!(RELEASED.forward_flops(large) > 4.0 * RELEASED.forward_flops(BATCH));
    }
}

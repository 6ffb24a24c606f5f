//! What a training step of the diffusion transformer holds: see `transformer::block` and the backwards in `ops::fused`.

use super::{ActivationSettings, Cost, SequenceLengths, most, ops::F32};
use crate::{CogView4TransformerConfig, ops::attention_scratch, transformer::MODULATIONS};

/// Whether a block's graph is kept until its backward, or made again for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// All graphs are there at once.
    Never,
    /// Each block's input is kept, and one graph at a time is there.
    EachBlock,
}

/// What becomes of the gradients of a block once its backward is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptGradients {
    /// They leave.
    None,
    /// They stay, in the type of the computation.
    Computed,
    /// They are added to sums in f32 that are there already.
    Sums,
}

/// Tensors of the size of the joint sequence that the graph of a block holds, beside its input: those before queries,
/// keys and values; these three before and as the attention takes them, values but once; its output in both orders and
/// after its projection; the sum with what it is added to; before the feed-forward, eight within, and its output.
const GRAPH: u64 = 20;
/// Those of the feed-forward among them that are gone when its first layer's backward begins.
const FEED_FORWARD: u64 = 9;
/// Those that are there when the attention's backward begins.
const BEFORE_ATTENTION: u64 = 8;

impl CogView4TransformerConfig {
    /// Forward and backward of one micro-batch with gradients of all parameters, weights not counted.
    pub fn training_activations(
        &self,
        lengths: SequenceLengths,
        settings: ActivationSettings,
        recompute: Recompute,
        kept: KeptGradients,
    ) -> Cost {
        let SequenceLengths { batch, seq_txt, seq_img } = lengths;
        let [tokens, width] = [batch * (seq_txt + seq_img), self.inner_dim()].map(|size| size as u64);
        let (size, blocks) = (settings.size(), self.num_layers as u64);
        let joint = tokens * width * size;
        let matrix = width * width * size;
        let modulation = MODULATIONS as u64 * width * self.time_embed_dim as u64 * size;
        let of_block = 12 * matrix + modulation;

        // The backward of a block at its fullest moments, with the gradients of its weights that are there by then.
        let before_feed_forward = GRAPH * joint + 6 * joint + 4 * matrix;
        let within_feed_forward = (GRAPH - FEED_FORWARD) * joint + 6 * joint + 8 * matrix;
        // What is narrower than f32 is widened, unless kernels take it as it is: gradient, query, key, value and output, and
        // the three gradients.
        let seq = seq_txt + seq_img;
        let scratch = attention_scratch(settings.dtype.dtype(), [seq, seq, self.attention_head_dim]);
        let widened = match scratch {
            Some(bytes) => 4 * joint + settings.threads as u64 * bytes,
            None if settings.is_wide() => 4 * joint,
            None => 8 * tokens * width * F32 + 3 * joint,
        };
        let attention = BEFORE_ATTENTION * joint + 2 * joint + widened + 9 * matrix;
        let end = 5 * joint + of_block;
        let backward = most([before_feed_forward, within_feed_forward, attention, end]);

        // Sums that are there when the last block's backward begins, and what each block's leaves. Without recomputing, a
        // pass gives all of its gradients at its end.
        let sums = if kept == KeptGradients::Sums { of_block / size * F32 * blocks } else { 0 };
        let left = match (recompute, kept) {
            (Recompute::Never, _) | (Recompute::EachBlock, KeptGradients::Computed) => of_block,
            (Recompute::EachBlock, KeptGradients::None | KeptGradients::Sums) => 0,
        };
        let each = match recompute {
            Recompute::Never => GRAPH * joint + joint,
            Recompute::EachBlock => joint,
        };
        let others = blocks.saturating_sub(1);
        let bytes = sums + backward + joint + most([others * each, others * left]);

        let forward = self.activations(lengths, settings);
        let passes = if recompute == Recompute::Never { 3.0 } else { 4.0 };
        Cost { bytes: bytes.max(forward.bytes), flops: passes * forward.flops }
    }
}

//! Captions on their way into the pack.

use cogview4_data::PackKey;

use super::{PackedSamples, SampleEncoder, Share};
use crate::error::Result;

/// Captions that go through a streamed text encoder together: each pass reads all of its layers.
pub(crate) const STREAMED_TOGETHER: usize = 64;

/// Captions that wait to be encoded and packed: one at a time, or several where the text encoder is streamed.
pub(super) struct CaptionQueue<'a> {
    encoder: &'a SampleEncoder,
    packed: &'a PackedSamples,
    share: Share,
    waiting: Vec<(PackKey, Vec<u32>)>,
    together: usize,
}

impl<'a> CaptionQueue<'a> {
    pub(super) fn new(encoder: &'a SampleEncoder, packed: &'a PackedSamples, share: Share) -> Self {
        let together = if encoder.encoders.offload { STREAMED_TOGETHER } else { 1 };
        Self { encoder, packed, share, waiting: Vec::new(), together }
    }

    /// Packs the embedding of a caption, unless it is another process's, is there, or waits already.
    pub(super) fn add(&mut self, caption: &str) -> Result<()> {
        let tokens = self.encoder.captions.tokenize(caption)?;
        let key = self.packed.caption_key(&tokens)?;
        if self.share.has_record(&key)
            && self.packed.lacks(&key)?
            && self.waiting.iter().all(|(waiting, _)| *waiting != key)
        {
            self.waiting.push((key, tokens.ids));
        }
        if self.waiting.len() < self.together { Ok(()) } else { self.finish() }
    }

    /// Packs what waits.
    pub(super) fn finish(&mut self) -> Result<()> {
        let (keys, ids): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().unzip();
        let embeds = self.encoder.encoders.embeds_each(&ids)?;
        keys.into_iter().zip(embeds).try_for_each(|(key, embeds)| Ok(self.packed.pack.append(key, &embeds)?))
    }
}

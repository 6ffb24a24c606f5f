//! Samples and captions to latents and embeddings, from the pack or by the frozen models. Both ways give the same
//! bytes.

use std::sync::Arc;

use burn::tensor::TensorData;
use cogview4_data::PackKey;
use image::RgbImage;

use super::{
    Encoders, PackedSamples, Share,
    packed::Captions,
    queue::CaptionQueue,
    sample::{EncodedSample, RawPictures, RawSample},
};
use crate::error::Result;

/// The frozen models with the pack in front of them, if there is one.
pub(crate) struct SampleEncoder {
    pub encoders: Encoders,
    pub captions: Captions,
    pub packed: Option<Arc<PackedSamples>>,
}

impl SampleEncoder {
    /// What the frozen models make of a sample.
    pub(crate) fn encode(&self, raw: RawSample) -> Result<EncodedSample> {
        let pictures = match (raw.pictures, &self.packed) {
            (RawPictures::Decoded(pictures), _) => pictures,
            (pictures @ RawPictures::Packed(_), Some(packed)) => return packed.encode(RawSample { pictures, ..raw }),
            (RawPictures::Packed(_), None) => unreachable!("invariant: packed pictures have a pack"),
        };
        let tokens = self.captions.tokenize(&raw.caption)?;
        Ok(EncodedSample {
            sample: raw.sample,
            image: self.encoders.moments(&pictures[0])?,
            control: self.encoders.moments(&pictures[1])?,
            embeds: self.encoders.embeds(&tokens)?,
            pads: tokens.pads,
            sizes: self.encoders.transform.size_conditions(),
        })
    }

    /// The embedding of a text that was not packed with the data set, with its pads.
    pub(crate) fn text(&self, text: &str) -> Result<(TensorData, usize)> {
        let tokens = self.captions.tokenize(text)?;
        let embeds = match &self.packed {
            Some(packed) => {
                let mut queue = CaptionQueue::new(self, packed, Share::ALL);
                queue.add(text)?;
                queue.finish()?;
                packed.embeds(&tokens)?
            }
            None => self.encoders.embeds(&tokens)?,
        };
        Ok((embeds, tokens.pads))
    }

    /// Packs the moments of an encoded picture, unless they are another process's, or there, and gives their key.
    pub(super) fn pack_picture(
        &self,
        (packed, share): (&PackedSamples, Share),
        picture: Vec<u8>,
        decode: impl FnOnce(Vec<u8>) -> Result<RgbImage>,
    ) -> Result<PackKey> {
        let key = packed.picture_key(&picture)?;
        if share.has_record(&key) && packed.lacks(&key)? {
            packed.pack.append(key.clone(), &self.encoders.moments(&decode(picture)?)?)?;
        }
        Ok(key)
    }
}

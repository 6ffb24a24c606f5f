//! Samples from the pack, by any thread: neither VAE nor text encoder is needed.

use std::sync::{Arc, OnceLock};

use burn::tensor::TensorData;
use cogview4_control_pipeline::{Component, PipelineFolder, PromptTokenizer, TokenizedPrompt};
use cogview4_data::{DataError, ImageTransform, Pack, PackKey};
use cogview4_model::weights::Int8;

use super::{
    identity,
    sample::{EncodedSample, RawPictures, RawSample},
};
use crate::error::Result;

/// Shapes that records must have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordShapes {
    /// Of a picture's moments, `[2 C, h, w]`.
    pub moments: [usize; 3],
    /// Last axis of a caption's embedding.
    pub text_embed_dim: usize,
}

/// The tokenizer with the length that captions are cut to.
#[derive(Debug, Clone)]
pub(crate) struct Captions {
    pub tokenizer: Arc<PromptTokenizer>,
    pub max_sequence_length: usize,
}

impl Captions {
    pub(crate) fn tokenize(&self, caption: &str) -> Result<TokenizedPrompt> {
        Ok(self.tokenizer.encode(caption, self.max_sequence_length)?)
    }
}

/// A pack with what finds records in it.
#[derive(Debug)]
pub(crate) struct PackedSamples {
    pub pack: Pack,
    folder: PipelineFolder,
    transform: ImageTransform,
    captions: Captions,
    shapes: RecordShapes,
    int8: Int8,
    vae_hash: OnceLock<PackKey>,
    text_hash: OnceLock<PackKey>,
}

impl PackedSamples {
    pub(crate) fn new(
        pack: Pack,
        folder: PipelineFolder,
        transform: ImageTransform,
        captions: Captions,
        shapes: RecordShapes,
        int8: Int8,
    ) -> Self {
        let (vae_hash, text_hash) = (OnceLock::new(), OnceLock::new());
        Self { pack, folder, transform, captions, shapes, int8, vae_hash, text_hash }
    }

    /// A sample whose pictures and caption are packed.
    pub(crate) fn encode(&self, raw: RawSample) -> Result<EncodedSample> {
        let RawPictures::Packed([image, control]) = raw.pictures else {
            unreachable!("invariant: with a pack, rows give keys");
        };
        let tokens = self.captions.tokenize(&raw.caption)?;
        Ok(EncodedSample {
            sample: raw.sample,
            image: self.moments(&image)?,
            control: self.moments(&control)?,
            embeds: self.embeds(&tokens)?,
            pads: tokens.pads,
            sizes: self.transform.size_conditions(),
        })
    }

    /// The embedding of a caption that is packed.
    pub(crate) fn embeds(&self, tokens: &TokenizedPrompt) -> Result<TensorData> {
        let width = self.shapes.text_embed_dim;
        let data = self.pack.read(&self.caption_key(tokens)?, 2)?;
        self.check(data, |shape| shape[1] == width)
    }

    fn moments(&self, key: &PackKey) -> Result<TensorData> {
        let data = self.pack.read(key, self.shapes.moments.len())?;
        self.check(data, |shape| shape == self.shapes.moments)
    }

    fn check(&self, data: TensorData, fits: impl Fn(&[usize]) -> bool) -> Result<TensorData> {
        if fits(data.shape().as_slice()) {
            return Ok(data);
        }
        let reason = format!("a record has shape {:?}: remove the pack to make it anew", data.shape().as_slice());
        Err(DataError::File { path: self.pack.folder().into(), reason }.into())
    }

    /// Whether a record has to be computed: another process may have packed it meanwhile.
    pub(crate) fn lacks(&self, key: &PackKey) -> Result<bool> {
        if self.pack.contains(key) {
            return Ok(false);
        }
        self.pack.refresh()?;
        Ok(!self.pack.contains(key))
    }

    /// The key of a picture's moments; `picture` is its encoded form.
    pub(crate) fn picture_key(&self, picture: &[u8]) -> Result<PackKey> {
        let hash = self.hash(&self.vae_hash, Component::Vae)?;
        let resolution = self.transform.resolution.to_le_bytes();
        Ok(PackKey::new(&[b"moments bilinear f32", hash.as_bytes(), &resolution, picture]))
    }

    /// The key of a caption's embedding.
    pub(crate) fn caption_key(&self, tokens: &TokenizedPrompt) -> Result<PackKey> {
        let hash = self.hash(&self.text_hash, Component::TextEncoder)?;
        let ids: Vec<u8> = tokens.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let kind: &[u8] = if self.int8 == Int8::Always { b"embeds int8" } else { b"embeds f32" };
        Ok(PackKey::new(&[kind, hash.as_bytes(), &ids]))
    }

    fn hash<'a>(&self, cell: &'a OnceLock<PackKey>, component: Component) -> Result<&'a PackKey> {
        if let Some(hash) = cell.get() {
            return Ok(hash);
        }
        let hash = identity::hash(&self.folder, component, self.pack.folder())?;
        Ok(cell.get_or_init(|| hash))
    }
}

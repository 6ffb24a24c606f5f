//! A sample on its way: read, then encoded.

use burn::tensor::TensorData;
use cogview4_data::PackKey;
use cogview4_model::transformer::SizeConditions;
use image::RgbImage;

use crate::schedule::order::Sample;

/// A sample, read.
#[derive(Debug)]
pub(crate) struct RawSample {
    pub sample: Sample,
    pub caption: String,
    pub pictures: RawPictures,
}

/// Picture and control image.
#[derive(Debug)]
pub(crate) enum RawPictures {
    /// Their latents are in the pack.
    Packed([PackKey; 2]),
    Decoded(Box<[RgbImage; 2]>),
}

/// What the frozen models made of a sample; all f32.
#[derive(Debug, Clone)]
pub(crate) struct EncodedSample {
    pub sample: Sample,
    /// Mean and logarithm of the variance of the picture's latents, `[2 C, h, w]`.
    pub image: TensorData,
    /// The same of the control image.
    pub control: TensorData,
    /// `[S, text_embed_dim]`.
    pub embeds: TensorData,
    /// Pads among the embeddings.
    pub pads: usize,
    /// What the model is told of the picture's size.
    pub sizes: SizeConditions,
}

//! Rows, and their pictures before they are decoded.

use std::path::PathBuf;

use cogview4_control_pipeline::{decode_image, encode_png};
use image::RgbImage;

use crate::error::PictureError;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The picture to learn.
    pub image: Picture,
    /// The control image.
    pub conditioning_image: Picture,
    /// The captions, one at least.
    pub captions: Vec<String>,
}

/// A picture that is not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picture {
    /// An encoded picture.
    Bytes(Vec<u8>),
    /// A file.
    File(PathBuf),
}

impl From<RgbImage> for Picture {
    fn from(image: RgbImage) -> Self {
        // Without pixels there is nothing to encode; decoding says so, by row.
        Self::Bytes(if image.is_empty() { Vec::new() } else { encode_png(&image) })
    }
}

impl Picture {
    /// The encoded picture.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>, PictureError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File(path) => std::fs::read(path)
                .map_err(|error| PictureError::new(format!("cannot read {}: {error}", path.display()))),
        }
    }

    /// Reads and decodes the picture, upright and as RGB.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes) and [`decode`](Self::decode).
    pub fn open(&self) -> Result<RgbImage, PictureError> {
        self.bytes().and_then(Self::decode)
    }

    /// Decodes a picture, upright and as RGB.
    ///
    /// # Errors
    /// What is not a picture, is broken, or too large.
    pub fn decode(bytes: Vec<u8>) -> Result<RgbImage, PictureError> {
        decode_image(bytes).map_err(PictureError::new)
    }
}

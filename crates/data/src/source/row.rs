//! Rows, and their pictures before they are decoded.

use std::path::{Component, Path, PathBuf};

use cogview4_control_pipeline::{check_image_output, decode_image, encode_png, save_image};
use cogview4_model::files::{MAX_PICTURE_BYTES, read_regular, write_atomic};
use image::{ImageFormat, RgbImage};

use crate::error::PictureError;

/// The file that a row of a data set names, from the folder of the row's table on. A data set may come from anywhere, and
/// what it names is shown in pages, so it names what is in its folder; a symbolic link there leads where it likes.
pub(super) fn inside(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let mut depth = 0_usize;
    for part in Path::new(name).components() {
        depth = match part {
            Component::Normal(_) => depth + 1,
            Component::CurDir => depth,
            Component::ParentDir if depth > 0 => depth - 1,
            _ => return Err(format!("`{name}` leads out of the data set's folder: only `jsonl_for_train` may")),
        };
    }
    Ok(folder.join(name))
}

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
            Self::File(path) => read_regular(path, MAX_PICTURE_BYTES)
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

    /// Writes the picture: byte for byte as it is where it has the format of the file's extension, else anew in that
    /// format. The file is there whole or not at all.
    ///
    /// # Errors
    /// What is not a picture or is broken, an extension of no format that can be written, and a file that cannot be
    /// written.
    pub fn save(&self, path: &Path) -> Result<(), PictureError> {
        check_image_output(path).map_err(PictureError::new)?;
        let bytes = self.bytes()?;
        let format = image::guess_format(&bytes).map_err(PictureError::new)?;
        let is_same = ImageFormat::from_path(path).is_ok_and(|wanted| wanted == format);
        let picture = Self::decode(bytes.clone())?;
        match is_same {
            true => write_atomic(path, &bytes).map_err(PictureError::new),
            false => save_image(&picture, path).map_err(PictureError::new),
        }
    }

    /// Decodes a picture, upright and as RGB.
    ///
    /// # Errors
    /// What is not a picture, is broken, or too large.
    pub fn decode(bytes: Vec<u8>) -> Result<RgbImage, PictureError> {
        decode_image(bytes).map_err(PictureError::new)
    }
}

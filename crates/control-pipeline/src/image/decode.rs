//! Decoding pictures within a bound on memory.

use std::io::Cursor;

use ::image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, RgbImage};

/// Memory that decoding one picture may take.
const MAX_DECODE_BYTES: u64 = 2 << 30;
/// Bytes of a pixel as RGB.
const RGB_BYTES: u64 = 3;

/// Why bytes are no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Of no known format, broken, or too large.
    #[error(transparent)]
    Decode(#[from] ImageError),
    /// A width or height of 0.
    #[error("has no pixels")]
    Empty,
}

/// Decodes a picture, turned upright by its EXIF orientation, as RGB.
///
/// # Errors
/// What is not a picture, is broken, or would take too much memory; says why.
pub fn decode_image(bytes: Vec<u8>) -> Result<RgbImage, PictureError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(ImageError::from)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODE_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    // `into_decoder` only hands the limit to the format's decoder, whose own buffers it bounds. What is allocated here
    // is the whole picture, and a copy as RGB: a header of a few bytes can ask for any size.
    let (width, height) = decoder.dimensions();
    limits.reserve(decoder.total_bytes())?;
    limits.reserve(u64::from(width).saturating_mul(u64::from(height)).saturating_mul(RGB_BYTES))?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    if image.width() == 0 || image.height() == 0 {
        return Err(PictureError::Empty);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_cannot_ask_for_much_memory() {
        // The header of a BMP of 60000 x 60000 pixels, and hardly any of them.
        let header = b"BM\x9a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x60\xea\0\0\x60\xea\0\0\x01\0\x18\0";
        let bytes = [&header[..], &[0; 124]].concat();
        assert_eq!(bytes.len(), 154);
        let error = decode_image(bytes).unwrap_err().to_string();
        assert_eq!(error, "Memory limit exceeded");
    }
}

//! Decoding pictures within a bound on memory.

use std::{
    io::Cursor,
    sync::{Condvar, Mutex, PoisonError},
};

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
    let as_rgb = u64::from(width).saturating_mul(u64::from(height)).saturating_mul(RGB_BYTES);
    limits.reserve(decoder.total_bytes())?;
    limits.reserve(as_rgb)?;
    // Several threads decode at once; the bound is that of all of them.
    let _room = Room::take(decoder.total_bytes() + as_rgb);
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    if image.width() == 0 || image.height() == 0 {
        return Err(PictureError::Empty);
    }
    Ok(image)
}

/// A part of the memory that all pictures that are decoded at the same time may take.
struct Room(u64);

static TAKEN: Mutex<u64> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

impl Room {
    /// Waits until so much is free. One that alone asks for more than there is has been refused before.
    fn take(bytes: u64) -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = GIVEN_BACK.wait_while(taken, |taken| *taken > 0 && *taken + bytes > MAX_DECODE_BYTES);
        *waited.unwrap_or_else(PoisonError::into_inner) += bytes;
        Self(bytes)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        GIVEN_BACK.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_are_decoded_at_once_share_one_bound() {
        let most = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _room = Room::take(MAX_DECODE_BYTES / 3);
                    let taken = *TAKEN.lock().unwrap();
                    most.fetch_max(taken, std::sync::atomic::Ordering::Relaxed);
                    std::thread::sleep(std::time::Duration::from_millis(5));
                });
            }
        });
        let most = most.into_inner();
        assert!(most > 0 && most <= MAX_DECODE_BYTES + (1 << 20), "{most}");
    }

    #[test]
    fn a_header_of_a_png_cannot_ask_for_much_memory() {
        // 74 bytes: 100000 x 100000 pixels of RGB, and a grey one whose copy as RGB would be too large.
        for (side, depth, colour) in [(100_000_u32, 8_u8, 2_u8), (30_000, 8, 0)] {
            let head = [&b"IHDR"[..], &side.to_be_bytes(), &side.to_be_bytes(), &[depth, colour, 0, 0, 0]].concat();
            let chunk = |content: &[u8]| {
                let length = (content.len() as u32 - 4).to_be_bytes();
                [&length[..], content, &crc(content).to_be_bytes()].concat()
            };
            let data = [&b"IDAT"[..], &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]].concat();
            let bytes = [&b"\x89PNG\r\n\x1a\n"[..], &chunk(&head), &chunk(&data), &chunk(b"IEND")].concat();
            let error = decode_image(bytes).unwrap_err().to_string();
            assert_eq!(error, "Memory limit exceeded");
        }
    }

    /// The checksum of PNG's chunks.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
    }

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

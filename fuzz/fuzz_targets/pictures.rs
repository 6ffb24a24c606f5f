//! Pictures of all formats. Those of very many pixels are left out: they are bounded by their size, and take time.
#![no_main]

use std::io::Cursor;

use cogview4_control_pipeline::decode_image;
use cogview4_fuzz::{said, target};
use image::ImageReader;

const MOST_PIXELS: u64 = 1 << 22;

target!(read);

fn read(data: &[u8]) {
    let size = ImageReader::new(Cursor::new(data)).with_guessed_format().ok().and_then(|it| it.into_dimensions().ok());
    if size.is_some_and(|(width, height)| u64::from(width) * u64::from(height) > MOST_PIXELS) {
        return;
    }
    let Some(picture) = said(decode_image(data.to_vec())) else { return };
    assert!(picture.width() > 0 && picture.height() > 0);
}

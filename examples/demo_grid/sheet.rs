//! Pictures side by side.

use image::{Rgb, RgbImage, imageops};

/// Pixels between pictures.
const GAP: u32 = 4;

/// One column for each list, enlarged without smoothing, on white.
pub(crate) fn sheet(columns: &[&[RgbImage]], scale: u32) -> RgbImage {
    let side = columns[0][0].width() * scale;
    let at = |index: usize| GAP + index as u32 * (side + GAP);
    let mut sheet = RgbImage::from_pixel(at(columns.len()), at(columns[0].len()), Rgb([u8::MAX; 3]));
    for (column, pictures) in columns.iter().enumerate() {
        for (row, picture) in pictures.iter().enumerate() {
            let large = imageops::resize(picture, side, side, imageops::FilterType::Nearest);
            imageops::replace(&mut sheet, &large, at(column).into(), at(row).into());
        }
    }
    sheet
}

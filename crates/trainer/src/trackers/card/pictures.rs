//! The pictures of the last validation that has some, named as the reference names them, counted from 0.

use cogview4_control_pipeline::save_image;
use image::{GenericImage, RgbImage};

use super::{Card, Earlier};
use crate::{error::Result, trackers::tracker::read_image};

/// A control image and what was drawn with it, written.
pub(super) struct Pair {
    pub prompt: String,
    /// File of the control image.
    pub control: String,
    /// File of the pictures, side by side.
    pub images: String,
    /// Seed of the first picture.
    pub seed: u64,
    /// Step that they were drawn at.
    pub step: usize,
}

impl Card {
    /// Pairs whose pictures are gone are left out.
    pub(super) fn write_pictures(&self, measured: &Earlier) -> Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        let Some(validation) = measured.validations.iter().rev().find(|found| !found.images.is_empty()) else {
            return Ok(pairs);
        };
        let folder = &self.config.output_dir;
        for (number, (prompt, control)) in self.controls.iter().enumerate() {
            let mut images = validation.images.iter().filter(|image| image.pair == number + 1).peekable();
            let Some(seed) = images.peek().map(|image| image.seed) else { continue };
            let pictures: Vec<RgbImage> = images.filter_map(|image| read_image(folder, &image.file).ok()).collect();
            let Some(side_by_side) = side_by_side(&pictures) else { continue };
            let pair = Pair {
                prompt: prompt.clone(),
                control: format!("image_control_{number}.png"),
                images: format!("images_{number}.png"),
                seed,
                step: validation.step,
            };
            save_image(control, &folder.join(&pair.control))?;
            save_image(&side_by_side, &folder.join(&pair.images))?;
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

/// Nothing where there are none, or where they differ in size.
fn side_by_side(pictures: &[RgbImage]) -> Option<RgbImage> {
    let (width, height) = pictures.first()?.dimensions();
    let mut all = RgbImage::new(width * pictures.len() as u32, height);
    for (number, picture) in pictures.iter().enumerate() {
        all.copy_from(picture, width * number as u32, 0).ok().filter(|()| picture.dimensions() == (width, height))?;
    }
    Some(all)
}

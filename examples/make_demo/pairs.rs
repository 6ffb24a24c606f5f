//! The data: drawings as pairs of picture and Canny edges, with captions.

use std::collections::BTreeSet;

use anyhow::Result;
use cogview4::CannyDetector;
use cogview4::data::{DataError, Row};
use image::{DynamicImage, RgbImage, Rgba, RgbaImage, imageops};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

use crate::{
    captions::{Subject, caption},
    colour,
    icons::Icon,
    random::{chance, pick, uniform},
};

/// Side of all pictures.
pub(crate) const SIDE: u32 = 128;
/// Side of pictures as strangers have them, which are enlarged.
pub(crate) const SMALL_SIDE: u32 = 64;
/// Side that drawings are rendered at before they are brought to any size.
const RENDERED_SIDE: u32 = 256;
/// One concept of so many is held out of all training, in all hands.
const HELD_OUT_EVERY: usize = 12;
/// Pictures of each drawing that is trained on; the first is the drawing as it is, on white.
const VARIANTS: usize = 4;
/// Backgrounds beside white.
const BACKGROUNDS: [(&str, [u8; 3]); 7] = [
    ("black", [25, 25, 28]),
    ("gray", [150, 152, 155]),
    ("red", [200, 70, 65]),
    ("yellow", [245, 225, 130]),
    ("green", [140, 195, 140]),
    ("blue", [125, 170, 220]),
    ("pink", [245, 190, 205]),
];
const WHITE: (&str, [u8; 3]) = ("white", [255; 3]);
/// Words that name a side: such a drawing is not mirrored.
const SIDES: [&str; 5] = ["left", "right", "east", "west", "clockwise"];
/// Thresholds of the edges that are trained on; the first are the detector's own.
pub(crate) const THRESHOLDS: [[f64; 2]; 4] = [[100.0, 200.0], [50.0, 200.0], [50.0, 100.0], [150.0, 250.0]];
/// Those of strangers' pictures.
pub(crate) const STRANGERS_THRESHOLDS: [f64; 2] = [50.0, 200.0];
/// Drawings that are rendered together.
const CHUNK: usize = 64;

/// The concepts that no training sees: names, in their order, one of so many.
pub(crate) fn held_out(icons: &[Icon]) -> BTreeSet<&str> {
    let names: BTreeSet<_> = icons.iter().map(|icon| icon.name.as_str()).collect();
    names.into_iter().skip(HELD_OUT_EVERY / 2).step_by(HELD_OUT_EVERY).collect()
}

/// Rows to train on, computed as they are asked for.
pub(crate) fn training_rows<'a>(icons: &'a [&Icon]) -> impl Iterator<Item = Result<Row, DataError>> + 'a {
    rows(icons, |place, icon| {
        let drawing = Drawing::new(icon)?;
        let variant =
            |index| drawing.varied(index == 0, &mut ChaCha8Rng::seed_from_u64((place * VARIANTS + index) as u64));
        (0..VARIANTS).map(variant).collect()
    })
}

/// Rows to measure with: each drawing as it is, by its plain name.
pub(crate) fn plain_rows<'a>(icons: &'a [&Icon]) -> impl Iterator<Item = Result<Row, DataError>> + 'a {
    rows(icons, |_, icon| {
        let (picture, control) = Drawing::new(icon)?.plain()?;
        Ok(vec![row(picture, control, icon.name.clone())])
    })
}

/// As strangers have them: small pictures enlarged, and their edges.
pub(crate) fn strangers_rows<'a>(icons: &'a [&Icon]) -> impl Iterator<Item = Result<Row, DataError>> + 'a {
    rows(icons, |_, icon| Ok(vec![Drawing::new(icon)?.strangers()?]))
}

fn rows<'a>(
    icons: &'a [&Icon],
    of_icon: impl Fn(usize, &Icon) -> Result<Vec<Row>> + Sync + 'a,
) -> impl Iterator<Item = Result<Row, DataError>> + 'a {
    icons.chunks(CHUNK).enumerate().flat_map(move |(chunk, icons)| {
        let rows: Vec<_> =
            icons.par_iter().enumerate().map(|(place, icon)| of_icon(chunk * CHUNK + place, icon)).collect();
        rows.into_iter().flat_map(|rows| match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(DataError::File { path: "drawings".into(), reason: format!("{error:#}") })],
        })
    })
}

/// A drawing, rendered.
pub(crate) struct Drawing<'a> {
    icon: &'a Icon,
    pixels: RgbaImage,
    colour: &'static str,
}

impl<'a> Drawing<'a> {
    pub(crate) fn new(icon: &'a Icon) -> Result<Self> {
        let pixels = icon.render(RENDERED_SIDE)?;
        let colour = colour::dominant(&pixels);
        Ok(Self { icon, pixels, colour })
    }

    /// As it is, on white, and its edges.
    pub(crate) fn plain(&self) -> Result<(RgbImage, RgbImage)> {
        let picture = placed(&self.pixels, WHITE.1, SIDE, SIDE, [0, 0]);
        let control = edges(&picture, THRESHOLDS[0])?;
        Ok((picture, control))
    }

    fn strangers(&self) -> Result<Row> {
        let picture = enlarged(&placed(&self.pixels, WHITE.1, SMALL_SIDE, SMALL_SIDE, [0, 0]));
        let control = edges(&picture, STRANGERS_THRESHOLDS)?;
        Ok(row(picture, control, self.icon.name.clone()))
    }

    /// Another colour, background, size, place or direction; or as it is.
    fn varied(&self, as_it_is: bool, random: &mut ChaCha8Rng) -> Result<Row> {
        let icon = self.icon;
        let (mut pixels, mut colour, mut is_recoloured) = (self.pixels.clone(), self.colour, false);
        let (mut side, mut offset, mut ground) = (SIDE as f32, [0.0; 2], WHITE);
        if !as_it_is {
            if icon.category != "flags" && chance(random, 0.55) {
                let others: Vec<_> = colour::TARGETS.iter().filter(|target| target.name != self.colour).collect();
                let target = pick(random, &others);
                colour::recolour(&mut pixels, self.colour, target);
                (colour, is_recoloured) = (target.name, true);
            }
            let is_sided = matches!(icon.category.as_str(), "flags" | "symbols")
                || SIDES.iter().any(|side| icon.name.contains(side));
            if !is_sided && chance(random, 0.5) {
                imageops::flip_horizontal_in_place(&mut pixels);
            }
            if chance(random, 0.4) {
                ground = *pick(random, &BACKGROUNDS);
            }
            // Some go over the picture's border.
            side *= if chance(random, 0.2) { 1.0 + 0.5 * uniform(random) } else { 0.7 + 0.3 * uniform(random) };
            offset = [0; 2].map(|_| uniform(random) * (SIDE as f32 - side));
        }
        let subject = Subject {
            name: &icon.name,
            category: &icon.category,
            styles: icon.styles,
            colour,
            is_recoloured,
            ground: ground.0,
        };
        let text = if as_it_is && chance(random, 0.5) { icon.name.clone() } else { caption(&subject, random) };
        let picture = placed(&pixels, ground.1, SIDE, side as u32, offset.map(|place| place as i64));
        let thresholds = *pick(random, &THRESHOLDS);
        let control = match chance(random, 0.35) {
            // What a stranger's file shows of it.
            true => {
                let small = imageops::resize(&picture, SMALL_SIDE, SMALL_SIDE, imageops::FilterType::Triangle);
                edges(&enlarged(&small), thresholds)?
            }
            false => edges(&picture, thresholds)?,
        };
        Ok(row(picture, control, text))
    }
}

/// A drawing of this side on a canvas, over a background.
fn placed(pixels: &RgbaImage, background: [u8; 3], canvas: u32, side: u32, [x, y]: [i64; 2]) -> RgbImage {
    let [r, g, b] = background;
    let opaque = Rgba([r, g, b, u8::MAX]);
    // Onto the background first: where a drawing is transparent its colours mean nothing.
    let mut drawn = RgbaImage::from_pixel(pixels.width(), pixels.height(), opaque);
    imageops::overlay(&mut drawn, pixels, 0, 0);
    let drawn = imageops::resize(&drawn, side, side, imageops::FilterType::Triangle);
    let mut picture = RgbaImage::from_pixel(canvas, canvas, opaque);
    imageops::overlay(&mut picture, &drawn, x, y);
    DynamicImage::ImageRgba8(picture).into_rgb8()
}

fn enlarged(picture: &RgbImage) -> RgbImage {
    imageops::resize(picture, SIDE, SIDE, imageops::FilterType::Triangle)
}

/// The control image of a picture.
pub(crate) fn edges(picture: &RgbImage, [low_threshold, high_threshold]: [f64; 2]) -> Result<RgbImage> {
    Ok(CannyDetector { low_threshold, high_threshold, ..CannyDetector::for_size(picture) }.detect(picture)?)
}

fn row(picture: RgbImage, control: RgbImage, caption: String) -> Row {
    Row { image: picture.into(), conditioning_image: control.into(), captions: vec![caption] }
}

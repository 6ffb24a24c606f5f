//! The data: the drawings of an `emoji-datasource-*` package as pairs of picture and Canny edges, with captions.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use cogview4::CannyDetector;
use cogview4::data::{Picture, Row};
use image::{DynamicImage, RgbImage, Rgba, RgbaImage, imageops};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde::Deserialize;

use crate::colour;

/// Side of all pictures.
pub(crate) const SIDE: u32 = 64;
/// One drawing of so many is held out of all training.
const HELD_OUT_EVERY: usize = 12;
/// Pictures of each drawing that is trained on; the first is the drawing as it is, on white.
const VARIANTS: usize = 8;
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
/// Words that name a side: such a drawing is not mirrored.
const SIDES: [&str; 5] = ["left", "right", "east", "west", "clockwise"];

/// A drawing of the package.
pub(crate) struct Drawing {
    name: String,
    category: String,
    pixels: RgbaImage,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    short_name: String,
    category: String,
    image: String,
    sort_order: usize,
}

/// Gets a package by npm, unless its folder is there, and reads its drawings in a fixed order.
pub(crate) fn drawings(set: &str, folder: &Path) -> Result<Vec<Drawing>> {
    let package = folder.join(set).join("package");
    if !package.exists() {
        download(set, folder)?;
    }
    let list = package.join("emoji.json");
    let entries = fs::read(&list).with_context(|| format!("reading {}", list.display()))?;
    let mut entries: Vec<Entry> =
        serde_json::from_slice(&entries).with_context(|| format!("parsing {}", list.display()))?;
    entries.sort_by_key(|entry| entry.sort_order);
    let mut drawings = Vec::new();
    for entry in entries {
        let path = package.join("img").join(set).join("64").join(&entry.image);
        // Newer drawings may lack in a set.
        if path.exists() {
            let pixels = image::open(&path).with_context(|| format!("reading {}", path.display()))?.into_rgba8();
            let name = if entry.name.is_empty() { entry.short_name.replace(['-', '_'], " ") } else { entry.name };
            drawings.push(Drawing { name: name.to_lowercase(), category: entry.category.to_lowercase(), pixels });
        }
    }
    Ok(drawings)
}

fn download(set: &str, folder: &Path) -> Result<()> {
    let folder = folder.join(set);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let package = format!("emoji-datasource-{set}");
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).current_dir(&folder).status();
        let status = status.with_context(|| format!("starting {program}"))?;
        ensure!(status.success(), "{program} {arguments:?} failed");
        Ok(())
    };
    run("npm", &["pack", "--silent", &format!("{package}@16.0.0")])?;
    run("tar", &["xzf", &format!("{package}-16.0.0.tgz")])
}

/// Rows to train on, and rows of drawings that no training sees.
pub(crate) fn rows(drawings: &[Drawing]) -> Result<[Vec<Row>; 2]> {
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (index, drawing) in drawings.iter().enumerate() {
        if index % HELD_OUT_EVERY == HELD_OUT_EVERY / 2 {
            held_out.push(drawing.plain()?);
            continue;
        }
        train.push(drawing.plain()?);
        for variant in 1..VARIANTS {
            train.push(drawing.varied(&mut ChaCha8Rng::seed_from_u64((index * VARIANTS + variant) as u64))?);
        }
    }
    Ok([train, held_out])
}

/// A number in `[0, 1)`.
fn uniform(random: &mut ChaCha8Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / (1 << 24) as f32
}

impl Drawing {
    /// As it is, on white.
    pub(crate) fn plain(&self) -> Result<Row> {
        self.row(&self.pixels, ("white", [255; 3]), SIDE, [0, 0])
    }

    /// Another colour, background, size, place or direction.
    fn varied(&self, random: &mut ChaCha8Rng) -> Result<Row> {
        let mut pixels = self.pixels.clone();
        if self.category != "flags" && uniform(random) < 0.6 {
            colour::turn(&mut pixels, 30.0 + 300.0 * uniform(random));
        }
        let is_sided =
            matches!(self.category.as_str(), "flags" | "symbols") || SIDES.iter().any(|side| self.name.contains(side));
        if !is_sided && uniform(random) < 0.5 {
            imageops::flip_horizontal_in_place(&mut pixels);
        }
        let background = match uniform(random) {
            part if part < 0.4 => ("white", [255; 3]),
            part => BACKGROUNDS[(part * 1e4) as usize % BACKGROUNDS.len()],
        };
        let side = 46 + (uniform(random) * 19.0) as u32;
        let offset = [0; 2].map(|_| (uniform(random) * (SIDE - side + 1) as f32) as i64);
        self.row(&pixels, background, side, offset)
    }

    fn row(
        &self,
        pixels: &RgbaImage,
        (ground, background): (&str, [u8; 3]),
        side: u32,
        [x, y]: [i64; 2],
    ) -> Result<Row> {
        // Onto the background first: where a drawing is transparent its colours mean nothing.
        let mut drawn = RgbaImage::from_pixel(pixels.width(), pixels.height(), opaque(background));
        imageops::overlay(&mut drawn, pixels, 0, 0);
        let drawn = imageops::resize(&drawn, side, side, imageops::FilterType::Triangle);
        let mut canvas = RgbaImage::from_pixel(SIDE, SIDE, opaque(background));
        imageops::overlay(&mut canvas, &drawn, x, y);
        let picture = DynamicImage::ImageRgba8(canvas).into_rgb8();
        let colour = colour::dominant(pixels);
        let name: Vec<&str> = self.name.split_whitespace().filter(|word| !colour::NAMES.contains(word)).collect();
        let caption = format!("a {colour} {}, {}, on a {ground} background", name.join(" "), self.category);
        Ok(Row {
            conditioning_image: Picture::from(edges(&picture)?),
            image: Picture::from(picture),
            captions: vec![caption],
        })
    }
}

fn opaque([r, g, b]: [u8; 3]) -> Rgba<u8> {
    Rgba([r, g, b, u8::MAX])
}

/// The control image of a picture.
pub(crate) fn edges(picture: &RgbImage) -> Result<RgbImage> {
    Ok(CannyDetector::for_size(picture).detect(picture)?)
}

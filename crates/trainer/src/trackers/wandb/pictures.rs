//! Pictures of a step: PNG files beside the records, and what a record says of them.

use std::{fs, path::Path};

use cogview4_control_pipeline::encode_png;
use cogview4_model::files::write_atomic;
use image::{GenericImage, RgbImage};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::messages::{FilesItem, Item};
use crate::error::{Result, TrainError};

/// More pictures under one name are not shown.
const MAX_PICTURES: usize = 108;
/// Bytes of a picture's hash that its file's name has.
const HASH_BYTES: usize = 10;

/// A picture and what stands below it.
#[derive(Debug, Clone)]
pub(super) struct Captioned {
    pub(super) caption: String,
    pub(super) image: RgbImage,
}

impl Captioned {
    pub(super) fn new(caption: &str, image: &RgbImage) -> Self {
        Self { caption: caption.into(), image: image.clone() }
    }
}

/// Writes pictures into `files`; gives the items of the step's record, and the files that were written.
pub(super) fn write_pictures(
    files: &Path,
    tag: &str,
    step: usize,
    pictures: &[Captioned],
) -> Result<(Vec<Item>, Vec<FilesItem>)> {
    let pictures = &pictures[..pictures.len().min(MAX_PICTURES)];
    let largest = |side: fn(&RgbImage) -> u32| pictures.iter().map(|picture| side(&picture.image)).max().unwrap_or(0);
    let (width, height) = (largest(RgbImage::width), largest(RgbImage::height));
    let folder = files.join("media/images");
    fs::create_dir_all(&folder).map_err(TrainError::io(&folder))?;
    let mut names = Vec::with_capacity(pictures.len());
    for picture in pictures {
        let png = encode_png(&on_canvas(&picture.image, width, height));
        let hash: String = Sha256::digest(&png)[..HASH_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("media/images/{tag}_{step}_{hash}.png");
        write_atomic(&files.join(&name), &png)?;
        names.push(name);
    }
    let captions: Vec<&str> = pictures.iter().map(|picture| picture.caption.as_str()).collect();
    let values: [(&str, Value); 7] = [
        ("_type", json!("images/separated")),
        ("width", json!(width)),
        ("height", json!(height)),
        ("format", json!("png")),
        ("count", json!(names.len())),
        ("filenames", json!(names)),
        ("captions", json!(captions)),
    ];
    let item =
        |(key, value): (&str, Value)| Item { nested_key: vec![tag.into(), key.into()], value_json: value.to_string() };
    let items = values.into_iter().map(item).collect();
    Ok((items, names.into_iter().map(|path| FilesItem { path, kind: FilesItem::MEDIA }).collect()))
}

/// A picture in the middle of a larger one: W&B shows pictures of one size, and none may be distorted.
fn on_canvas(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    if image.dimensions() == (width, height) {
        return image.clone();
    }
    let mut canvas = RgbImage::new(width, height);
    let (left, top) = ((width - image.width()) / 2, (height - image.height()) / 2);
    canvas.copy_from(image, left, top).expect("invariant: no larger than the canvas");
    canvas
}

//! What is kept of a row.

use cogview4_control_pipeline::{Filter, resize};
use image::RgbImage;

use super::{CountTokens, edges::EdgeMap};
use crate::source::{Dataset, Picture};

/// Bytes of a channel that differ by less are the same: compressed pictures waver.
const CONSTANT_RANGE: u8 = 4;
/// Side at which edges are looked for.
const EDGE_SIDE: u32 = 256;

/// A row, read and measured.
pub(super) struct RowSummary {
    /// Picture and control image, or why not.
    pub pictures: Result<(Side, Side), String>,
    pub has_empty_caption: bool,
    /// Tokens of the longest caption; 0 where nobody counts.
    pub tokens: usize,
    /// Where picture and control image have edges, until they are compared; `None` for constant pictures.
    pub edges: Option<Box<[EdgeMap; 2]>>,
}

/// A picture, measured.
pub(super) struct Side {
    pub size: [u32; 2],
    pub hash: blake3::Hash,
    pub is_constant: bool,
    /// Of the brightness, in bits a pixel.
    pub entropy: f64,
    /// How far the channels lie apart, in bytes at the mean.
    pub chroma: f64,
}

impl Side {
    fn of(image: &RgbImage) -> Self {
        let size = [image.width(), image.height()];
        let mut hasher = blake3::Hasher::new();
        for side in size {
            hasher.update(&side.to_le_bytes());
        }
        let hash = hasher.update(image.as_raw()).finalize();
        let range = |channel: usize| {
            let values = || image.pixels().map(|pixel| pixel.0[channel]);
            values().max().unwrap_or_default() - values().min().unwrap_or_default()
        };
        let is_constant = (0..3).all(|channel| range(channel) < CONSTANT_RANGE);
        Self { size, hash, is_constant, entropy: entropy(image), chroma: chroma(image) }
    }

    pub(super) fn short_side(&self) -> u32 {
        self.size[0].min(self.size[1])
    }
}

impl RowSummary {
    pub(super) fn read(dataset: &dyn Dataset, index: usize, count_tokens: Option<CountTokens<'_>>) -> Self {
        let unreadable =
            |reason: String| Self { pictures: Err(reason), has_empty_caption: false, tokens: 0, edges: None };
        let row = match dataset.row(index) {
            Ok(row) => row,
            Err(error) => return unreadable(error.to_string()),
        };
        let decode = |what: &str, picture: &Picture| picture.open().map_err(|reason| format!("{what}: {reason}"));
        let count = |caption: &String| count_tokens.map_or(Ok(0), |count| count(caption));
        let tokens = row.captions.iter().map(count).try_fold(0, |most, tokens| Ok::<_, String>(most.max(tokens?)));
        let pictures = decode("picture", &row.image)
            .and_then(|image| Ok((image, decode("control image", &row.conditioning_image)?)));
        let caption = tokens.as_ref().map_err(|reason| format!("caption: {reason}"));
        let pictures = pictures.and_then(|pictures| caption.map(|_| pictures));
        let is_empty = |caption: &String| caption.trim().is_empty();
        let captions = Self {
            has_empty_caption: row.captions.is_empty() || row.captions.iter().any(is_empty),
            tokens: tokens.unwrap_or_default(),
            ..unreadable(String::new())
        };
        match pictures {
            Err(reason) => Self { pictures: Err(reason), ..captions },
            Ok((image, control)) => {
                let sides = (Side::of(&image), Side::of(&control));
                let is_flat = sides.0.is_constant || sides.1.is_constant || sides.0.hash == sides.1.hash;
                let edges = |image: &RgbImage| EdgeMap::of(&resize(image, EDGE_SIDE, EDGE_SIDE, Filter::Bilinear));
                let edges = (!is_flat).then(|| Box::new([edges(&image), edges(&control)]));
                Self { pictures: Ok(sides), edges, ..captions }
            }
        }
    }
}

fn chroma(image: &RgbImage) -> f64 {
    let apart = |[red, green, blue]: [u8; 3]| red.max(green).max(blue) - red.min(green).min(blue);
    let sum: u64 = image.pixels().map(|pixel| u64::from(apart(pixel.0))).sum();
    sum as f64 / (f64::from(image.width()) * f64::from(image.height()))
}

fn entropy(image: &RgbImage) -> f64 {
    let mut counts = [0_u64; 256];
    for pixel in image.pixels() {
        let [red, green, blue] = pixel.0.map(u32::from);
        counts[((299 * red + 587 * green + 114 * blue) / 1000) as usize] += 1;
    }
    let total = f64::from(image.width()) * f64::from(image.height());
    let bits = |&count: &u64| {
        let part = count as f64 / total;
        if count == 0 { 0.0 } else { -part * part.log2() }
    };
    counts.iter().map(bits).sum()
}

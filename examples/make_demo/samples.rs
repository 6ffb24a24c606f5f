//! Rows that a pipeline is measured on, and how well pictures fit them.

use std::path::Path;

use anyhow::{Result, ensure};
use cogview4::data::{Columns, Dataset, open_dataset};
use cogview4::{ControlRequest, edge_f1};
use image::RgbImage;
use serde_json::{Value, json};

use crate::{
    captions::without_colours,
    colour,
    pairs::{SIDE, SMALL_SIDE, edges},
};

/// Rows that are generated together.
pub(crate) const BATCH: usize = 16;
/// Pixels that an edge may be away: one at the side that strangers' pictures have.
const TOLERANCE: u32 = SIDE / SMALL_SIDE;
/// A pixel with a channel darker than this is drawing, not white background.
const BACKGROUND: u8 = 240;

/// Rows of a data set, evenly spread, without those that have no edges.
pub(crate) struct Samples {
    pub(crate) captions: Vec<String>,
    pub(crate) controls: Vec<RgbImage>,
    pub(crate) pictures: Vec<RgbImage>,
    /// Of the edges that are compared.
    thresholds: [f64; 2],
}

impl Samples {
    pub(crate) fn open(path: &Path, count: usize, thresholds: [f64; 2]) -> Result<Self> {
        let rows = open_dataset(path, &Columns::default())?;
        let count = count.min(rows.len());
        ensure!(count > 1, "{}: at least two rows are needed", path.display());
        let mut samples = Self { captions: Vec::new(), controls: Vec::new(), pictures: Vec::new(), thresholds };
        for place in 0..count {
            let row = rows.row(place * rows.len() / count)?;
            let control = row.conditioning_image.open().map_err(anyhow::Error::msg)?;
            // What is white on white has nothing to follow.
            if control.iter().all(|&value| value == 0) {
                continue;
            }
            samples.captions.push(row.captions.concat());
            samples.controls.push(control);
            samples.pictures.push(row.image.open().map_err(anyhow::Error::msg)?);
        }
        Ok(samples)
    }

    pub(crate) fn requests(&self, captions: &[String], controls: &[RgbImage]) -> impl Iterator<Item = ControlRequest> {
        captions
            .chunks(BATCH)
            .zip(controls.chunks(BATCH))
            .map(|(captions, controls)| ControlRequest::new(captions.to_vec(), controls.to_vec()))
    }

    /// For each row, the control image of the one half a set away: next to each other stand variants of the same
    /// drawing.
    pub(crate) fn shuffled(&self) -> Vec<RgbImage> {
        let mut controls = self.controls.clone();
        controls.rotate_left(self.controls.len() / 2);
        controls
    }

    /// Captions with a colour, in turn, and which one.
    pub(crate) fn recoloured(&self) -> (Vec<String>, Vec<[f64; 3]>) {
        let other = |(place, caption): (usize, &String)| {
            let (name, rgb) = colour::HUES[place % colour::HUES.len()];
            (format!("{name} {}", without_colours(caption)), rgb.map(f64::from))
        };
        self.captions.iter().enumerate().map(other).unzip()
    }

    /// How well pictures fit the rows.
    pub(crate) fn compare(&self, pictures: &[RgbImage]) -> Result<Value> {
        let (mut own, mut shuffled, mut near, mut far, mut sharp_own, mut energy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        let count = pictures.len() as f64;
        for ((picture, truth), (control, other)) in
            pictures.iter().zip(&self.pictures).zip(self.controls.iter().zip(self.shuffled()))
        {
            let edges = edges(picture, self.thresholds)?;
            own += edge_f1(&edges, control, TOLERANCE) / count;
            shuffled += edge_f1(&edges, &other, TOLERANCE) / count;
            sharp_own += edge_f1(&edges, control, 1) / count;
            energy += laplacian(picture) / laplacian(truth) / count;
            near += distance(picture, truth) / count;
            let others = self.pictures.iter().filter(|other| !std::ptr::eq(*other, truth));
            far += mean(others.map(|other| distance(picture, other))) / count;
        }
        Ok(json!({
            "edge_f1": round(own),
            "edge_f1_within_a_pixel": round(sharp_own),
            "edge_f1_of_another": round(shuffled),
            "laplacian": round(energy),
            "distance": round(near),
            "distance_to_others": round(far),
            "distance_ratio": round(near / far),
        }))
    }

    /// The part of the rows where the mean colour of the drawing, not of its background, moved towards the colour asked
    /// for.
    pub(crate) fn right_colours(&self, before: &[RgbImage], after: &[RgbImage], asked: &[[f64; 3]]) -> f64 {
        let is_right = |row: usize| {
            let [before, after] = [before, after].map(|set| foreground(&set[row], &self.pictures[row]));
            let along = (0..3).map(|c| (after[c] - before[c]) * (asked[row][c] - before[c])).sum::<f64>();
            f64::from(u8::from(along > 0.0))
        };
        mean((0..asked.len()).map(is_right))
    }
}

/// Mean colour of a picture where the true one is not background.
fn foreground(picture: &RgbImage, truth: &RgbImage) -> [f64; 3] {
    let inside: Vec<_> = picture
        .pixels()
        .zip(truth.pixels())
        .filter(|(_, truth)| truth.0.iter().any(|&channel| channel < BACKGROUND))
        .map(|(pixel, _)| pixel.0)
        .collect();
    [0, 1, 2].map(|channel| mean(inside.iter().map(|pixel| f64::from(pixel[channel]))))
}

/// Mean square of what a pixel differs from the mean of its four neighbours: how sharp a picture is.
fn laplacian(picture: &RgbImage) -> f64 {
    let (width, height) = picture.dimensions();
    let places = (1..height - 1).flat_map(|y| (1..width - 1).map(move |x| (x, y)));
    let value = |x, y, channel: usize| f64::from(picture.get_pixel(x, y).0[channel]);
    mean(places.flat_map(|(x, y)| {
        (0..3).map(move |channel| {
            let around = value(x - 1, y, channel) + value(x + 1, y, channel);
            let around = around + value(x, y - 1, channel) + value(x, y + 1, channel);
            (value(x, y, channel) - around / 4.0).powi(2)
        })
    }))
}

/// Mean difference of all bytes.
fn distance(a: &RgbImage, b: &RgbImage) -> f64 {
    mean(a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))))
}

/// Peak signal to noise ratio, in decibel.
pub(crate) fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = mean(a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)));
    10.0 * (255.0 * 255.0 / square).log10()
}

pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

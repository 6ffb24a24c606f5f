//! What control images are of their pictures, found once by comparing training rows: each measure is tried on pictures
//! with their own control images and with those of other rows. One that does not tell these apart, or that true
//! pictures do not score well on, would say nothing of generated ones.

#[cfg(test)]
mod tests;

use std::fmt;

use cogview4_control_pipeline::{CannyDetector, Filter, resize};
use image::RgbImage;
use rayon::prelude::*;

use super::measure::Measure;
use crate::samples::Rows;

/// Rows that are compared, evenly spread.
const ROWS: usize = 32;
/// Thresholds that edges are looked for with; the first unless another fits clearly better.
const THRESHOLDS: [(f64, f64); 3] = [(100.0, 200.0), (50.0, 100.0), (200.0, 300.0)];
const CLEARLY: f64 = 0.05;
/// What true pictures reach at the median: F1, SSIM, and a distance that is hardly seen.
const LEAST_F1: f64 = 0.75;
const LEAST_SSIM: f64 = 0.87;
const MOST_DISTANCE: f64 = 8.0;
/// The part of the way from another's control image to perfect that one's own must be.
const LEAST_LEAD: f64 = 0.6;

/// What the control images of a data set are, and so what is measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ControlKind {
    /// Nothing for poses, depth, segmentation and what else says nothing by these measures.
    pub measure: Option<Measure>,
    /// True pictures against their own control images and another's, at the median.
    medians: [f64; 2],
    /// Rows that were compared.
    rows: usize,
}

impl ControlKind {
    /// Compares rows that are spread over the data set, as training sees them: squares of `side` pixels.
    pub(crate) fn find(rows: &Rows, side: u32) -> Self {
        // Every row was read once; one that cannot be read any more is left to the training.
        let read =
            |row: usize| Some(rows.pictures(row).ok()?.map(|picture| resize(&picture, side, side, Filter::Bilinear)));
        let pairs: Vec<[RgbImage; 2]> = rows.spread_rows(ROWS).into_par_iter().filter_map(read).collect();
        Self::of(&pairs)
    }

    /// Of pairs of picture and control image, all of one size.
    pub(super) fn of(pairs: &[[RgbImage; 2]]) -> Self {
        let compare = |measure: Measure| {
            let medians = medians(measure, pairs)?;
            tells_apart(measure, medians).then_some(Self { measure: Some(measure), medians, rows: pairs.len() })
        };
        let edges = || {
            let detectors = THRESHOLDS.map(|(low_threshold, high_threshold)| {
                Measure::Edges(CannyDetector { low_threshold, high_threshold, ..CannyDetector::default() })
            });
            let kinds = detectors.into_iter().filter_map(compare);
            kinds.reduce(|best, kind| if kind.medians[0] > best.medians[0] + CLEARLY { kind } else { best })
        };
        let kind = compare(Measure::Blur).or_else(|| compare(Measure::Colours)).or_else(edges);
        let kind = kind.or_else(|| compare(Measure::Palette));
        kind.unwrap_or(Self { measure: None, medians: [0.0; 2], rows: pairs.len() })
    }
}

/// Scores of the pictures with their own control images and with those half the set away, as neighbours may be variants
/// of each other; nothing where there is nobody to compare with, or where most cannot be measured.
fn medians(measure: Measure, pairs: &[[RgbImage; 2]]) -> Option<[f64; 2]> {
    let count = pairs.len();
    let score = |(index, [picture, control]): (usize, &[RgbImage; 2])| {
        let other = &pairs[(index + count / 2) % count][1];
        let scores = [measure.score(picture, control)?, measure.score(picture, other)?];
        (other != control).then_some(scores)
    };
    let scores: Vec<[f64; 2]> = pairs.par_iter().enumerate().filter_map(score).collect();
    (2 * scores.len() > count).then(|| [0, 1].map(|side| median(scores.iter().map(|scores| scores[side]).collect())))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn tells_apart(measure: Measure, [own, other]: [f64; 2]) -> bool {
    match measure {
        Measure::Blur => own >= LEAST_SSIM && own - other >= LEAST_LEAD * (1.0 - other),
        Measure::Edges(_) => own >= LEAST_F1 && own - other >= LEAST_LEAD * (1.0 - other),
        Measure::Colours | Measure::Palette => own <= MOST_DISTANCE && own <= (1.0 - LEAST_LEAD) * other,
    }
}

impl fmt::Display for ControlKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [own, other] = self.medians;
        let (what, score) = match self.measure {
            None if self.rows < 2 => return f.write_str("not measured, as one row is too few to compare"),
            None => {
                return f.write_str(
                    "not measured, as the controls are not edges of their pictures, nor copies or colours of them",
                );
            }
            Some(Measure::Edges(_)) => ("edges", "F1"),
            Some(Measure::Blur) => ("blurred, tiled or small copies", "blurred SSIM"),
            Some(Measure::Colours) => ("the colours", "a colour distance of"),
            Some(Measure::Palette) => ("palettes", "a colour distance of"),
        };
        let decimals = if own.max(other) > 1.0 { 1 } else { 2 };
        write!(
            f,
            "the controls are {what} of their pictures: {score} {own:.decimals$} for true pictures, {other:.decimals$} with \
             another's control"
        )
    }
}

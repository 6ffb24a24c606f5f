//! What can be measured of a picture against the control image that it follows.

use cogview4_control_pipeline::{CannyDetector, EdgeAgreement, blur_ssim, colour_distance, palette_distance};
use image::RgbImage;

use super::lines::lines;
use crate::metrics::Fidelity;

/// Edges may lie one pixel beside, for each of these of the side that is begun.
const SIDE_OF_A_PIXEL: u32 = 512;
/// In smaller pictures everything is within a pixel of an edge: limbs, and the lines of a skeleton in them.
const LEAST_SIDE: u32 = 64;

/// A way to hold a picture against its control image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    /// Both are blurred.
    Blur,
    /// Colours in the same place.
    Colours,
    /// Colours in any place.
    Palette,
    /// Edges that this finds in the picture, against the control image's lines.
    Edges(CannyDetector),
}

impl Measure {
    /// One number, 1 at best for likeness, 0 at best for distances; nothing where the control image has no such thing.
    pub(super) fn score(self, picture: &RgbImage, control: &RgbImage) -> Option<f64> {
        match self {
            Self::Blur => Some(blur_ssim(picture, control)),
            Self::Colours => Some(colour_distance(picture, control)),
            Self::Palette => Some(palette_distance(picture, control)),
            Self::Edges(canny) => Some(agreement(canny, picture, control)?.f1()),
        }
    }

    /// Measures a picture against its own control image and that of another pair.
    pub(super) fn fidelity(self, picture: &RgbImage, own: &RgbImage, other: Option<&RgbImage>) -> Fidelity {
        let shuffled = other.and_then(|other| self.score(picture, other));
        let mut fidelity = Fidelity::default();
        match self {
            Self::Blur => {
                fidelity.blur_ssim = self.score(picture, own);
                fidelity.blur_ssim_shuffled = shuffled;
            }
            Self::Colours | Self::Palette => {
                fidelity.colour_distance = self.score(picture, own);
                fidelity.colour_distance_shuffled = shuffled;
            }
            Self::Edges(canny) => {
                let found = agreement(canny, picture, own);
                fidelity.edge_precision = found.map(|found| found.precision);
                fidelity.edge_recall = found.map(|found| found.recall);
                fidelity.edge_f1 = found.map(|found| found.f1());
                fidelity.edge_f1_shuffled = shuffled.filter(|_| found.is_some());
            }
        }
        fidelity
    }
}

/// Nothing where the control image is no edge map, or the picture too small.
fn agreement(canny: CannyDetector, picture: &RgbImage, control: &RgbImage) -> Option<EdgeAgreement> {
    if picture.width().min(picture.height()) < LEAST_SIDE {
        return None;
    }
    let lines = lines(control).filter(|lines| lines.dimensions() == picture.dimensions())?;
    let tolerance = picture.width().max(picture.height()).div_ceil(SIDE_OF_A_PIXEL);
    Some(EdgeAgreement::of(&canny.edges(picture), &lines, tolerance))
}

//! Whether validation pictures follow their control images, where those are edge maps.

use cogview4_control_pipeline::CannyDetector;
use image::RgbImage;

use super::control::ControlPicture;

/// What part of an edge map's pixels is black or white.
const CLEAR: f64 = 0.9;
/// How far from black or white that is.
const MARGIN: u8 = 48;
/// How far from the middle of a line there is no line any more.
const REACH: u32 = 3;

/// F1 scores of a picture's edges, with a tolerance of one pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fidelity {
    /// Against its own control image.
    pub own: f64,
    /// Against the control image of another pair.
    pub shuffled: Option<f64>,
}

/// Looks for the edges of a picture of a pair again. Nothing where the control image is no edge map: a pose, a depth
/// map.
pub(super) fn fidelity(picture: &RgbImage, controls: &[ControlPicture], pair: usize) -> Option<Fidelity> {
    let score = |control: &RgbImage| -> Option<f64> {
        let is_comparable = is_edge_map(control) && control.dimensions() == picture.dimensions();
        is_comparable.then(|| CannyDetector::for_size(picture).fidelity(picture, control).ok())?
    };
    // Sizes that are no multiples of 64 are changed by the detector.
    if [picture.width(), picture.height()].iter().any(|side| !side.is_multiple_of(64)) {
        return None;
    }
    let own = score(&controls[pair].image)?;
    let mut others = (1..controls.len()).map(|step| &controls[(pair + step) % controls.len()].image);
    let other = others.find(|other| **other != controls[pair].image);
    Some(Fidelity { own, shuffled: other.and_then(score) })
}

/// White lines on black: hardly any white pixel has white on all sides.
fn is_edge_map(image: &RgbImage) -> bool {
    let is_white = |x: u32, y: u32| {
        image.get_pixel_checked(x, y).is_some_and(|pixel| pixel.0.iter().all(|&c| c > u8::MAX - MARGIN))
    };
    let (mut black, mut white, mut inside) = (0, 0, 0);
    for (x, y, pixel) in image.enumerate_pixels() {
        black += usize::from(pixel.0.iter().all(|&channel| channel < MARGIN));
        if is_white(x, y) {
            white += 1;
            let around = [(x.wrapping_sub(REACH), y), (x + REACH, y), (x, y.wrapping_sub(REACH)), (x, y + REACH)];
            inside += usize::from(around.into_iter().all(|(x, y)| is_white(x, y)));
        }
    }
    let all = f64::from(image.width() * image.height());
    let is_clear = (black + white) as f64 >= CLEAR * all;
    white > 0 && black > white && is_clear && inside as f64 <= (1.0 - CLEAR) * white as f64
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn disc(radius: f32) -> RgbImage {
        RgbImage::from_fn(64, 64, |x, y| {
            Rgb([if (x as f32 - 30.0).hypot(y as f32 - 33.0) < radius { 220 } else { 30 }; 3])
        })
    }

    fn control(picture: &RgbImage) -> ControlPicture {
        let image = CannyDetector::for_size(picture).detect(picture).expect("edges");
        ControlPicture { prompt: String::new(), image }
    }

    #[test]
    fn a_picture_follows_its_own_edges_and_not_anothers() {
        let controls = [control(&disc(12.0)), control(&disc(24.0))];
        let found = fidelity(&disc(12.0), &controls, 0).expect("edge maps");
        assert_eq!((found.own, found.shuffled), (1.0, Some(0.0)));
        assert_eq!(fidelity(&disc(12.0), &controls[..1], 0).expect("an edge map").shuffled, None);
    }

    #[test]
    fn what_is_no_edge_map_is_not_compared() {
        let pose = RgbImage::from_fn(64, 64, |x, _| Rgb(if x % 8 < 2 { [255, 80, 0] } else { [0; 3] }));
        for image in [pose, disc(12.0), RgbImage::new(64, 64)] {
            let controls = [ControlPicture { prompt: String::new(), image }];
            assert!(fidelity(&disc(12.0), &controls, 0).is_none());
        }
    }
}

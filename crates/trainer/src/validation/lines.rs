//! Edge maps of others: white lines on black or black on white, grey where they were shrunk or are soft.

use image::{Rgb, RgbImage};

/// How far from the ground a pixel is that belongs to a line at all.
const FAINT: u8 = 16;
/// Lines are brighter than the ground by this part of what most of them are.
const HALF: f64 = 0.5;
/// Most of the lines' pixels: the 90th percentile.
const MOST: f64 = 0.9;
/// Lines cover this part of the picture at most.
const MAX_COVERED: f64 = 0.4;
/// In lines, this part of the pixels at most has line on all sides at [`REACH`].
const MAX_INSIDE: f64 = 0.1;
/// How far from the middle of a line there is no line any more, as a part of the shorter side.
const REACH: f64 = 0.05;

/// The lines of an edge map, white on black; nothing where the picture does not consist of lines. What counts is
/// relative to the picture's own size and brightness.
pub(super) fn lines(image: &RgbImage) -> Option<RgbImage> {
    let brightness: Vec<u8> = image.pixels().map(|pixel| pixel.0.into_iter().max().unwrap_or_default()).collect();
    let is_dark_ground = quantile(brightness.clone(), 0.5)? < 128;
    let distances: Vec<u8> = match is_dark_ground {
        true => brightness,
        false => image.pixels().map(|pixel| u8::MAX - pixel.0.into_iter().min().unwrap_or_default()).collect(),
    };
    let usual = quantile(distances.iter().copied().filter(|&distance| distance > FAINT).collect(), MOST)?;
    let least = HALF * f64::from(usual);
    let width = image.width() as usize;
    let is_line = |x: usize, y: usize| f64::from(distances[y * width + x]) >= least;
    let lines = RgbImage::from_fn(image.width(), image.height(), |x, y| {
        Rgb([if is_line(x as usize, y as usize) { u8::MAX } else { 0 }; 3])
    });
    are_thin(&lines).then_some(lines)
}

fn are_thin(lines: &RgbImage) -> bool {
    let (width, height) = lines.dimensions();
    let reach = (REACH * f64::from(width.min(height))).max(1.0) as u32;
    let is_line = |x: u32, y: u32| lines.get_pixel_checked(x, y).is_some_and(|pixel| pixel[0] > 0);
    let (mut all, mut inside) = (0.0, 0.0);
    for (x, y, _) in lines.enumerate_pixels().filter(|(_, _, pixel)| pixel[0] > 0) {
        all += 1.0;
        let around = [(x.wrapping_sub(reach), y), (x + reach, y), (x, y.wrapping_sub(reach)), (x, y + reach)];
        inside += f64::from(u8::from(around.into_iter().all(|(x, y)| is_line(x, y))));
    }
    all > 0.0 && all <= MAX_COVERED * f64::from(width) * f64::from(height) && inside <= MAX_INSIDE * all
}

fn quantile(mut values: Vec<u8>, part: f64) -> Option<u8> {
    let index = (part * values.len() as f64) as usize;
    (index < values.len()).then(|| *values.select_nth_unstable(index).1)
}

#[cfg(test)]
mod tests {
    use cogview4_control_pipeline::{CannyDetector, Filter, resize};

    use super::*;

    fn ring(side: u32, line: u8, ground: u8) -> RgbImage {
        let (middle, width) = (side as f32 / 2.0, side as f32 / 64.0);
        RgbImage::from_fn(side, side, |x, y| {
            let distance = (x as f32 - middle).hypot(y as f32 - middle) - 0.3 * side as f32;
            Rgb([if distance.abs() < width { line } else { ground }; 3])
        })
    }

    #[test]
    fn lines_of_any_size_and_brightness_are_white_on_black() {
        for side in [64, 512] {
            let expected = ring(side, 255, 0);
            for (line, ground) in [(255, 0), (90, 0), (0, 255), (140, 250)] {
                assert_eq!(lines(&ring(side, line, ground)).as_ref(), Some(&expected), "{side} {line} {ground}");
            }
        }
        let shrunk = resize(&ring(512, 255, 0), 64, 64, Filter::Bilinear);
        assert!(lines(&shrunk).is_some_and(|lines| lines.pixels().filter(|pixel| pixel[0] > 0).count() > 60));
    }

    #[test]
    fn areas_are_no_lines() {
        let disc =
            RgbImage::from_fn(64, 64, |x, y| Rgb([if x.abs_diff(32).max(y.abs_diff(32)) < 12 { 255 } else { 0 }; 3]));
        for image in [&disc, &RgbImage::new(64, 64), &RgbImage::from_pixel(64, 64, Rgb([255; 3]))] {
            assert!(lines(image).is_none());
        }
        assert!(lines(&CannyDetector::default().edges(&disc)).is_some());
    }
}

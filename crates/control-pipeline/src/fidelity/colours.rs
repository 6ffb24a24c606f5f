//! How far apart the colours of two pictures are, as eyes see it.

use image::{Rgb, RgbImage};

use crate::image::{Filter, resize};

/// Cells a side that colours are compared in.
const CELLS: u32 = 8;
/// Samples a side that are taken of a palette.
const SAMPLES: u32 = 16;

/// Mean distance of the colours of two pictures in the same place: both are averaged to 8 x 8 cells and compared in
/// CIELAB (CIE76). 0 where they are the same; 2 is hardly seen, black and white are 100 apart.
///
/// ```
/// use cogview4_control_pipeline::colour_distance;
/// use image::{Rgb, RgbImage};
///
/// let [black, white] = [0, 255].map(|value| RgbImage::from_pixel(8, 8, Rgb([value; 3])));
/// assert!(colour_distance(&white, &white) < 1e-9 && (colour_distance(&black, &white) - 100.0).abs() < 0.1);
/// ```
///
/// # Panics
/// When a picture has no pixels.
pub fn colour_distance(a: &RgbImage, b: &RgbImage) -> f64 {
    let [a, b] =
        [a, b].map(|image| resize(image, CELLS, CELLS, Filter::Bilinear).pixels().map(lab).collect::<Vec<_>>());
    mean(a.iter().zip(&b).map(|(a, b)| distance(a, b)))
}

/// Mean distance, in CIELAB, of each colour of one picture to the nearest of the other, wherever it is, from both
/// sides: how well a picture keeps to a palette.
///
/// ```
/// use cogview4_control_pipeline::palette_distance;
/// use image::{Rgb, RgbImage};
///
/// let halves = |left, right| RgbImage::from_fn(16, 16, |x, _| Rgb(if x < 8 { left } else { right }));
/// let (red, blue, green) = ([255, 0, 0], [0, 0, 255], [0, 255, 0]);
/// assert!(palette_distance(&halves(red, blue), &halves(blue, red)) < 1e-9);
/// assert!(palette_distance(&halves(red, blue), &halves(green, red)) > 50.0);
/// ```
///
/// # Panics
/// When a picture has no pixels.
pub fn palette_distance(a: &RgbImage, b: &RgbImage) -> f64 {
    let [a, b] = [a, b].map(samples);
    let nearest = |colours: &[[f64; 3]], others: &[[f64; 3]]| {
        mean(
            colours
                .iter()
                .map(|colour| others.iter().map(|other| distance(colour, other)).fold(f64::INFINITY, f64::min)),
        )
    };
    (nearest(&a, &b) + nearest(&b, &a)) / 2.0
}

/// Colours at the middles of a grid; nothing is averaged, so that none is there that the picture does not have.
fn samples(image: &RgbImage) -> Vec<[f64; 3]> {
    let middle =
        |number: u32, side: u32| ((2 * u64::from(number) + 1) * u64::from(side) / u64::from(2 * SAMPLES)) as u32;
    let (width, height) = image.dimensions();
    let places = (0..SAMPLES).flat_map(|y| (0..SAMPLES).map(move |x| (middle(x, width), middle(y, height))));
    places.map(|(x, y)| lab(image.get_pixel(x, y))).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// CIELAB of sRGB, for the white of D65.
fn lab(pixel: &Rgb<u8>) -> [f64; 3] {
    let linear = |value: u8| match f64::from(value) / 255.0 {
        value if value <= 0.04045 => value / 12.92,
        value => ((value + 0.055) / 1.055).powf(2.4),
    };
    let [r, g, b] = pixel.0.map(linear);
    let [x, y, z] = [
        (0.412_456 * r + 0.357_576 * g + 0.180_437 * b) / 0.950_47,
        0.212_673 * r + 0.715_152 * g + 0.072_175 * b,
        (0.019_334 * r + 0.119_192 * g + 0.950_304 * b) / 1.088_83,
    ]
    .map(|value| if value > 0.008_856 { value.cbrt() } else { 7.787 * value + 16.0 / 116.0 });
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_cielab_are_those_of_tables() {
        for (rgb, expected) in [
            ([255, 0, 0], [53.24, 80.09, 67.20]),
            ([0, 0, 255], [32.30, 79.19, -107.86]),
            ([128, 128, 128], [53.59, 0.0, 0.0]),
        ] {
            let found = lab(&Rgb(rgb));
            assert!(distance(&found, &expected) < 0.1, "{found:?} {expected:?}");
        }
    }
}

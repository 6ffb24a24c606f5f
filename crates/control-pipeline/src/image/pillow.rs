//! Pillow's `Image.resize` for RGB, bit-equal: one pass along each axis, with coefficients in fixed point and rounding
//! to bytes between the passes, so their order matters. Source: `src/libImaging/Resample.c` of Pillow 13.0.

use ::image::RgbImage;

/// Bits behind the point of a coefficient: a byte, and room for two sign bits, are left of 32.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const CHANNELS: usize = 3;

/// A resampling filter of Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// `Image.Resampling.BILINEAR`.
    Bilinear,
    /// `Image.Resampling.LANCZOS`.
    Lanczos,
}

impl Filter {
    /// How far the filter reaches, in source pixels of an enlargement.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// Resizes to `width` x `height` pixels, as `image.resize((width, height), filter)` does in Pillow.
///
/// ```
/// use cogview4_control_pipeline::{Filter, resize};
///
/// let image = image::RgbImage::new(300, 200);
/// assert_eq!(resize(&image, 64, 48, Filter::Lanczos).dimensions(), (64, 48));
/// ```
///
/// # Panics
/// When a side is 0.
pub fn resize(image: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    assert!(width > 0 && height > 0, "a picture has pixels");
    let horizontal = |image: RgbImage| if width == image.width() { image } else { resize_rows(&image, width, filter) };
    let vertical =
        |image: RgbImage| if height == image.height() { image } else { resize_columns(&image, height, filter) };
    let removed = |before: u32, after: u32| i64::from(before) - i64::from(after);
    let (rows, columns) = (removed(image.height(), height), removed(image.width(), width));
    // Pillow begins with the axis that leaves it less to do.
    let vertical_first = rows > 0 && rows > 2 * columns;
    if vertical_first { horizontal(vertical(image.clone())) } else { vertical(horizontal(image.clone())) }
}

/// What makes one output pixel: the first source pixel, and fixed-point weights from there on.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn taps(source: u32, target: u32, filter: Filter) -> Vec<Taps> {
    let scale = f64::from(source) / f64::from(target);
    let filter_scale = scale.max(1.0);
    let support = filter.support() * filter_scale;
    (0..target)
        .map(|position| {
            let center = (f64::from(position) + 0.5) * scale;
            // As in Pillow, the casts cut towards zero.
            let first = ((center - support + 0.5) as i64).max(0);
            let end = ((center + support + 0.5) as i64).min(i64::from(source));
            let weights: Vec<f64> =
                (first..end).map(|i| filter.weight((i as f64 - center + 0.5) * (1.0 / filter_scale))).collect();
            let sum: f64 = weights.iter().sum();
            Taps { first: first as usize, weights: weights.iter().map(|weight| fixed_point(weight / sum)).collect() }
        })
        .collect()
}

fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (scaled + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
}

fn resize_rows(image: &RgbImage, width: u32, filter: Filter) -> RgbImage {
    let taps = taps(image.width(), width, filter);
    let mut output = RgbImage::new(width, image.height());
    let source_rows = image.as_raw().chunks_exact(image.width() as usize * CHANNELS);
    for (source, target) in source_rows.zip(output.chunks_exact_mut(width as usize * CHANNELS)) {
        for (pixel, taps) in target.chunks_exact_mut(CHANNELS).zip(&taps) {
            let pixels = source[taps.first * CHANNELS..].chunks_exact(CHANNELS);
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = weighted_sum(&taps.weights, pixels.clone().map(|pixel| pixel[channel]));
            }
        }
    }
    output
}

fn resize_columns(image: &RgbImage, height: u32, filter: Filter) -> RgbImage {
    let row_len = image.width() as usize * CHANNELS;
    let mut output = RgbImage::new(image.width(), height);
    for (target, taps) in output.chunks_exact_mut(row_len).zip(taps(image.height(), height, filter)) {
        let rows = image.as_raw()[taps.first * row_len..].chunks_exact(row_len);
        for (column, value) in target.iter_mut().enumerate() {
            *value = weighted_sum(&taps.weights, rows.clone().map(|row| row[column]));
        }
    }
    output
}

fn weighted_sum(weights: &[i32], values: impl Iterator<Item = u8>) -> u8 {
    let half = 1 << (PRECISION_BITS - 1);
    let sum = weights.iter().zip(values).fold(half, |sum, (&weight, value)| sum + weight * i32::from(value));
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_flat_picture_stays_flat(
            size in (1_u32..60, 1_u32..60),
            target in (1_u32..60, 1_u32..60),
            byte: u8,
            lanczos: bool,
        ) {
            let image = RgbImage::from_pixel(size.0, size.1, ::image::Rgb([byte, 255 - byte, 7]));
            let filter = if lanczos { Filter::Lanczos } else { Filter::Bilinear };
            let resized = resize(&image, target.0, target.1, filter);
            prop_assert_eq!(resized.dimensions(), target);
            prop_assert!(resized.pixels().all(|pixel| pixel.0 == [byte, 255 - byte, 7]));
        }
    }
}

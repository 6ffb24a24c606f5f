//! Whether two pictures are alike when both are blurred.

use image::RgbImage;

use crate::image::{Filter, resize};

/// Both pictures are made this small: what is finer than a 32nd of a side does not count.
const SIDE: usize = 32;
/// Side of the window that statistics are taken over, and the step from one to the next.
const WINDOW: usize = 8;
const STEP: usize = 2;
/// The usual constants of SSIM, for brightness from 0 to 255.
const C1: f64 = 0.01 * 0.01 * 255.0 * 255.0;
const C2: f64 = 0.03 * 0.03 * 255.0 * 255.0;

/// Structural similarity (SSIM) of the brightness of two pictures, after both are averaged down to 32 x 32 pixels: how
/// well a picture follows a blurred, tiled or small copy, of whatever size. 1 where both are the same, about 0 where
/// they have nothing in common.
///
/// Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004; windows of
/// 8 x 8 pixels without weights.
///
/// ```
/// use cogview4_control_pipeline::blur_ssim;
/// use image::{Rgb, RgbImage};
///
/// let bar = |at: u32| RgbImage::from_fn(64, 64, |x, _| Rgb([if x / 16 == at { 255 } else { 0 }; 3]));
/// assert!(blur_ssim(&bar(1), &bar(1)) > 0.999 && blur_ssim(&bar(1), &bar(3)) < 0.3);
/// ```
///
/// # Panics
/// When a picture has no pixels.
pub fn blur_ssim(a: &RgbImage, b: &RgbImage) -> f64 {
    let [a, b] = [a, b].map(small);
    let places = || (0..=SIDE - WINDOW).step_by(STEP);
    let windows = places().flat_map(|top| places().map(move |left| (left, top)));
    let (sum, count) = windows.fold((0.0, 0.0), |(sum, count), place| (sum + ssim(&a, &b, place), count + 1.0));
    sum / count
}

/// Brightness from 0 to 255, by row.
fn small(image: &RgbImage) -> Vec<f64> {
    let small = resize(image, SIDE as u32, SIDE as u32, Filter::Bilinear);
    small
        .pixels()
        .map(|pixel| 0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2]))
        .collect()
}

/// SSIM of one window.
fn ssim(a: &[f64], b: &[f64], (left, top): (usize, usize)) -> f64 {
    let (mut means, mut squares, mut product) = ([0.0; 2], [0.0; 2], 0.0);
    for index in (top..top + WINDOW).flat_map(|row| (left..left + WINDOW).map(move |column| row * SIDE + column)) {
        for (side, value) in [a[index], b[index]].into_iter().enumerate() {
            means[side] += value;
            squares[side] += value * value;
        }
        product += a[index] * b[index];
    }
    let count = (WINDOW * WINDOW) as f64;
    let [mean_a, mean_b] = means.map(|sum| sum / count);
    let [variance_a, variance_b] = [squares[0] / count - mean_a * mean_a, squares[1] / count - mean_b * mean_b];
    let covariance = product / count - mean_a * mean_b;
    (2.0 * mean_a * mean_b + C1) * (2.0 * covariance + C2)
        / ((mean_a * mean_a + mean_b * mean_b + C1) * (variance_a + variance_b + C2))
}

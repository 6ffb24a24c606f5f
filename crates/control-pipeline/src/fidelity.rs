//! How well two edge maps agree.

use image::RgbImage;

/// Pixels from this brightness are edges.
const EDGE: u8 = 128;

/// The F1 score of the edges found against those expected: the harmonic mean of the part of each that lies within
/// `tolerance` pixels, along rows and columns, of the other. 1 where both are the same, 0 where nothing meets.
///
/// ```
/// use cogview4_control_pipeline::edge_f1;
/// use image::{Rgb, RgbImage};
///
/// let line = |at: u32| RgbImage::from_fn(16, 16, |x, _| Rgb([if x == at { 255 } else { 0 }; 3]));
/// assert_eq!(edge_f1(&line(5), &line(5), 0), 1.0);
/// assert_eq!(edge_f1(&line(5), &line(6), 1), 1.0);
/// assert_eq!(edge_f1(&line(5), &line(9), 1), 0.0);
/// ```
///
/// # Panics
/// When the two differ in size.
pub fn edge_f1(found: &RgbImage, expected: &RgbImage, tolerance: u32) -> f64 {
    assert_eq!(found.dimensions(), expected.dimensions(), "the sizes of the edge maps");
    match (near(found, expected, tolerance), near(expected, found, tolerance)) {
        (Some(precision), Some(recall)) if precision + recall > 0.0 => 2.0 * precision * recall / (precision + recall),
        (None, None) => 1.0,
        _ => 0.0,
    }
}

/// The part of the edges that has an edge of the other near; nothing where there are none.
fn near(edges: &RgbImage, others: &RgbImage, tolerance: u32) -> Option<f64> {
    let (width, height) = edges.dimensions();
    let (mut all, mut met) = (0_u32, 0_u32);
    for (x, y, _) in edges.enumerate_pixels().filter(|(_, _, pixel)| is_edge(pixel)) {
        all += 1;
        let mut columns = x.saturating_sub(tolerance)..=(x + tolerance).min(width - 1);
        let rows = y.saturating_sub(tolerance)..=(y + tolerance).min(height - 1);
        met += u32::from(columns.any(|x| rows.clone().any(|y| is_edge(others.get_pixel(x, y)))));
    }
    (all > 0).then(|| f64::from(met) / f64::from(all))
}

fn is_edge(pixel: &image::Rgb<u8>) -> bool {
    pixel[0] >= EDGE
}

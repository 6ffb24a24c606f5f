//! How well two edge maps agree.

use image::RgbImage;

/// Pixels from this brightness are edges.
const EDGE: u8 = 128;

/// How the edges that were found agree with those expected.
///
/// ```
/// use cogview4_control_pipeline::EdgeAgreement;
/// use image::{Rgb, RgbImage};
///
/// let lines = |at: &[u32]| RgbImage::from_fn(16, 16, |x, _| Rgb([if at.contains(&x) { 255 } else { 0 }; 3]));
/// let found = EdgeAgreement::of(&lines(&[5]), &lines(&[5, 11]), 1);
/// assert_eq!((found.precision, found.recall), (1.0, 0.5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeAgreement {
    /// The part of the edges found that was expected.
    pub precision: f64,
    /// The part of the edges expected that was found.
    pub recall: f64,
}

impl EdgeAgreement {
    /// An edge is met by one within `tolerance` pixels along rows and columns. Both parts are 1 where neither has
    /// edges, and 0 where only one has.
    ///
    /// # Panics
    /// When the two differ in size.
    pub fn of(found: &RgbImage, expected: &RgbImage, tolerance: u32) -> Self {
        assert_eq!(found.dimensions(), expected.dimensions(), "the sizes of the edge maps");
        match (near(found, expected, tolerance), near(expected, found, tolerance)) {
            (Some(precision), Some(recall)) => Self { precision, recall },
            (None, None) => Self { precision: 1.0, recall: 1.0 },
            _ => Self { precision: 0.0, recall: 0.0 },
        }
    }

    /// The harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        let sum = self.precision + self.recall;
        if sum > 0.0 { 2.0 * self.precision * self.recall / sum } else { 0.0 }
    }
}

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
    EdgeAgreement::of(found, expected, tolerance).f1()
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

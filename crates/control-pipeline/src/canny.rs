//! Canny edges: `cv2.Canny` pixel for pixel, with the sizes of controlnet_aux's `CannyDetector`.
//!
//! Source: `modules/imgproc/src/canny.cpp` of OpenCV (aperture 3, L1 gradient) and `controlnet_aux/canny`.

use image::{Rgb, RgbImage};

use crate::{
    error::{PipelineError, Result},
    fidelity::edge_f1,
    image::{Interpolation, resize_opencv},
};

/// Sides are rounded to a multiple of this.
const SIDE_MULTIPLE: f64 = 64.0;
/// Longer sides are refused.
const MAX_SIDE: f64 = 32_768.0;
/// So are pictures of more pixels: each takes about 20 bytes.
const MAX_PIXELS: f64 = 134_217_728.0;

/// Finds the edges of a picture, as control image.
///
/// ```
/// use cogview4_control_pipeline::CannyDetector;
///
/// let picture = image::RgbImage::from_fn(64, 64, |x, _| image::Rgb([if x < 32 { 0 } else { 255 }; 3]));
/// let edges = CannyDetector { detect_resolution: 64, image_resolution: 64, ..Default::default() }.detect(&picture)?;
/// assert_eq!(edges.get_pixel(31, 10).0, [255; 3]);
/// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CannyDetector {
    /// Gradients up to this are no edges.
    pub low_threshold: f64,
    /// Gradients above this are edges; those between are where they touch an edge.
    pub high_threshold: f64,
    /// Length of the short side when edges are looked for, rounded to a multiple of 64.
    pub detect_resolution: u32,
    /// Length of the short side of the result, rounded to a multiple of 64.
    pub image_resolution: u32,
}

impl Default for CannyDetector {
    /// The defaults of controlnet_aux.
    fn default() -> Self {
        Self { low_threshold: 100.0, high_threshold: 200.0, detect_resolution: 512, image_resolution: 512 }
    }
}

impl CannyDetector {
    /// A detector for pictures of this size, which enlarges and shrinks nothing where the short side is a multiple of
    /// 64.
    pub fn for_size(image: &RgbImage) -> Self {
        let short = image.width().min(image.height());
        Self { detect_resolution: short, image_resolution: short, ..Self::default() }
    }

    /// White edges on black, as RGB.
    ///
    /// # Errors
    /// Thresholds that are no numbers, or a picture that would have no pixels, or too many, at these resolutions.
    pub fn detect(&self, image: &RgbImage) -> Result<RgbImage> {
        for (what, threshold) in [("low_threshold", self.low_threshold), ("high_threshold", self.high_threshold)] {
            if !threshold.is_finite() {
                return Err(PipelineError::bad_input(what, format!("{threshold} is not a finite number")));
            }
        }
        let size = |what, resolution| {
            short_side_to(image, resolution).map_err(|reason| PipelineError::bad_input(what, reason))
        };
        let (width, height, enlarged) = size("detect_resolution", self.detect_resolution)?;
        let interpolation = if enlarged { Interpolation::Lanczos4 } else { Interpolation::Area };
        let resized = resize_opencv(image, width, height, interpolation);
        let edges = canny(&resized, self.low_threshold, self.high_threshold);
        // As in controlnet_aux, the size of the result follows from the resized picture.
        let (width, height, _) = short_side_to(&resized, self.image_resolution)
            .map_err(|reason| PipelineError::bad_input("image_resolution", reason))?;
        Ok(resize_opencv(&edges, width, height, Interpolation::Linear))
    }

    /// White edges on black, as RGB, at the picture's own size, whatever that and the resolutions are. Thresholds that
    /// are no numbers find nothing.
    pub fn edges(&self, image: &RgbImage) -> RgbImage {
        canny(image, self.low_threshold, self.high_threshold)
    }

    /// The F1 score, with a tolerance of one pixel, of the edges found in a picture against the edge map that it was to
    /// follow.
    ///
    /// # Errors
    /// As [`detect`](Self::detect).
    ///
    /// # Panics
    /// When edges and control image differ in size.
    pub fn fidelity(&self, picture: &RgbImage, control: &RgbImage) -> Result<f64> {
        Ok(edge_f1(&self.detect(picture)?, control, 1))
    }
}

/// Width and height that bring the short side to `resolution`, each rounded to a multiple of 64, and whether the
/// picture grows.
fn short_side_to(image: &RgbImage, resolution: u32) -> Result<(u32, u32, bool), String> {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let factor = f64::from(resolution) / width.min(height);
    let side = |side: f64| (side * factor / SIDE_MULTIPLE).round_ties_even() * SIDE_MULTIPLE;
    let (new_width, new_height) = (side(width), side(height));
    let fits = |side: f64| (1.0..=MAX_SIDE).contains(&side);
    if !fits(new_width) || !fits(new_height) || new_width * new_height > MAX_PIXELS {
        return Err(format!("{resolution} would make a picture of {new_width} x {new_height} pixels"));
    }
    Ok((new_width as u32, new_height as u32, factor > 1.0))
}

/// Gradient of one pixel: the channel where it is strongest.
#[derive(Clone, Copy, Default)]
struct Gradient {
    dx: i32,
    dy: i32,
    magnitude: i32,
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    None,
    Weak,
    Edge,
}

/// `cv2.Canny(image, low, high)`, as RGB.
fn canny(image: &RgbImage, low: f64, high: f64) -> RgbImage {
    let (low, high) = (low.min(high).floor(), low.max(high).floor());
    let gradients = Gradients::new(image);
    let (width, height) = (gradients.width, gradients.height);
    let mut marks = vec![Mark::None; width * height];
    let mut stack = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let magnitude = f64::from(gradients.at(x, y).magnitude);
            if magnitude > low && gradients.is_peak(x, y) {
                let strong = magnitude > high;
                marks[y * width + x] = if strong { Mark::Edge } else { Mark::Weak };
                if strong {
                    stack.push((x, y));
                }
            }
        }
    }
    // Weak pixels that touch an edge are edges.
    while let Some((x, y)) = stack.pop() {
        for ny in y.saturating_sub(1)..(y + 2).min(height) {
            for nx in x.saturating_sub(1)..(x + 2).min(width) {
                let mark = &mut marks[ny * width + nx];
                if *mark == Mark::Weak {
                    *mark = Mark::Edge;
                    stack.push((nx, ny));
                }
            }
        }
    }
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        Rgb([if marks[y as usize * width + x as usize] == Mark::Edge { 255 } else { 0 }; 3])
    })
}

struct Gradients {
    width: usize,
    height: usize,
    values: Vec<Gradient>,
}

impl Gradients {
    /// Sobel gradients with the border repeated.
    fn new(image: &RgbImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)];
            for x in 0..width {
                let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
                values.push(strongest(image, columns, rows));
            }
        }
        Self { width, height, values }
    }

    fn at(&self, x: usize, y: usize) -> Gradient {
        self.values[y * self.width + x]
    }

    /// Magnitude of a neighbour; outside the picture it is 0.
    fn magnitude(&self, x: usize, y: usize, dx: isize, dy: isize) -> i32 {
        match (x.checked_add_signed(dx), y.checked_add_signed(dy)) {
            (Some(x), Some(y)) if x < self.width && y < self.height => self.at(x, y).magnitude,
            _ => 0,
        }
    }

    /// Whether the magnitude is largest along the gradient's direction, of which there are four.
    fn is_peak(&self, x: usize, y: usize) -> bool {
        /// tan(22.5 degrees) in fixed point.
        const TAN_22: i64 = 13_573;
        const FIXED_POINT_BITS: u32 = 15;
        let Gradient { dx, dy, magnitude } = self.at(x, y);
        let neighbour = |dx, dy| self.magnitude(x, y, dx, dy);
        let (abs_dx, abs_dy) = (i64::from(dx.abs()), i64::from(dy.abs()) << FIXED_POINT_BITS);
        let tan_22 = abs_dx * TAN_22;
        let tan_67 = tan_22 + (abs_dx << (FIXED_POINT_BITS + 1));
        if abs_dy < tan_22 {
            magnitude > neighbour(-1, 0) && magnitude >= neighbour(1, 0)
        } else if abs_dy > tan_67 {
            magnitude > neighbour(0, -1) && magnitude >= neighbour(0, 1)
        } else {
            let side = if (dx ^ dy) < 0 { -1 } else { 1 };
            magnitude > neighbour(-side, -1) && magnitude > neighbour(side, 1)
        }
    }
}

fn strongest(image: &RgbImage, columns: [usize; 3], rows: [usize; 3]) -> Gradient {
    let mut best = Gradient::default();
    for channel in 0..3 {
        let value = |i: usize, j: usize| i32::from(image.get_pixel(columns[i] as u32, rows[j] as u32).0[channel]);
        let dx = value(2, 0) - value(0, 0) + 2 * (value(2, 1) - value(0, 1)) + value(2, 2) - value(0, 2);
        let dy = value(0, 2) - value(0, 0) + 2 * (value(1, 2) - value(1, 0)) + value(2, 2) - value(2, 0);
        let magnitude = dx.abs() + dy.abs();
        if channel == 0 || magnitude > best.magnitude {
            best = Gradient { dx, dy, magnitude };
        }
    }
    best
}

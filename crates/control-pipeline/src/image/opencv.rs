//! OpenCV's `cv2.resize` for RGB bytes, in the three interpolations that controlnet_aux uses. Fixed point with 11 bits
//! for `INTER_LINEAR` and `INTER_LANCZOS4`, floats for `INTER_AREA`, as in `modules/imgproc/src/resize.cpp`.

use std::f64::consts::PI;

use ::image::RgbImage;

const CHANNELS: usize = 3;
/// A weight of 1 in fixed point.
const COEFFICIENT_SCALE: f32 = 2048.0;
/// Bits behind the point after both passes.
const FIXED_POINT_BITS: u32 = 22;

/// An interpolation of OpenCV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interpolation {
    /// `INTER_LINEAR`.
    Linear,
    /// `INTER_AREA`.
    Area,
    /// `INTER_LANCZOS4`.
    Lanczos4,
}

/// `cv2.resize(image, (width, height), interpolation=...)`.
pub(crate) fn resize_opencv(image: &RgbImage, width: u32, height: u32, interpolation: Interpolation) -> RgbImage {
    if image.dimensions() == (width, height) {
        return image.clone();
    }
    if interpolation == Interpolation::Area && width <= image.width() && height <= image.height() {
        return resize_area(image, width, height);
    }
    let mut columns = fixed_taps(image.width(), width, interpolation);
    let rows = fixed_taps(image.height(), height, interpolation);
    if interpolation != Interpolation::Lanczos4 {
        columns.iter_mut().for_each(join_at_edge);
    }
    let widened: Vec<Vec<i32>> = image
        .as_raw()
        .chunks_exact(image.width() as usize * CHANNELS)
        .map(|row| apply_columns(row, &columns))
        .collect();
    let round = if interpolation == Interpolation::Lanczos4 { combine_rows } else { combine_two_rows };
    let bytes = rows.iter().flat_map(|taps| round(&widened, taps)).collect();
    RgbImage::from_raw(width, height, bytes).expect("invariant: one byte per pixel and channel")
}

/// Source index and weight; indices beyond the edge are already moved to it.
type FixedTaps = Vec<(usize, i32)>;

fn fixed_taps(source: u32, target: u32, interpolation: Interpolation) -> Vec<FixedTaps> {
    let scale = f64::from(source) / f64::from(target);
    (0..target)
        .map(|position| {
            let position = f64::from(position);
            let centre = ((position + 0.5) * scale - 0.5) as f32;
            let (first, weights) = match interpolation {
                Interpolation::Linear => linear_weights(centre.floor(), centre - centre.floor()),
                Interpolation::Area => {
                    // An enlarged axis: the part of the output pixel that lies beyond the first source pixel.
                    let first = (position * scale).floor();
                    let beyond = ((position + 1.0) - (first + 1.0) / scale) as f32;
                    let beyond = if beyond <= 0.0 { 0.0 } else { beyond - beyond.floor() };
                    linear_weights(first as f32, beyond)
                }
                Interpolation::Lanczos4 => (centre.floor() as i64 - 3, lanczos4(centre - centre.floor()).to_vec()),
            };
            let last = i64::from(source) - 1;
            let index = |k: usize| (first + k as i64).clamp(0, last) as usize;
            let fixed = |weight: f32| (weight * COEFFICIENT_SCALE).round_ties_even() as i32;
            weights.iter().enumerate().map(|(k, &weight)| (index(k), fixed(weight))).collect()
        })
        .collect()
}

fn linear_weights(first: f32, fraction: f32) -> (i64, Vec<f32>) {
    (first as i64, vec![1.0 - fraction, fraction])
}

/// Where both taps are the same edge pixel, OpenCV counts it once, along the rows only: it cuts low bits of each tap of
/// the columns.
fn join_at_edge(taps: &mut FixedTaps) {
    if let [(first, _), (second, _)] = taps[..]
        && first == second
    {
        *taps = vec![(first, COEFFICIENT_SCALE as i32)];
    }
}

fn lanczos4(x: f32) -> [f32; 8] {
    const HALF_ROOT: f64 = std::f64::consts::FRAC_1_SQRT_2;
    const TURNS: [[f64; 2]; 8] = [
        [1.0, 0.0],
        [-HALF_ROOT, -HALF_ROOT],
        [0.0, 1.0],
        [HALF_ROOT, -HALF_ROOT],
        [-1.0, 0.0],
        [HALF_ROOT, HALF_ROOT],
        [0.0, -1.0],
        [-HALF_ROOT, HALF_ROOT],
    ];
    let (sin, cos) = (-f64::from(x + 3.0) * PI * 0.25).sin_cos();
    let mut weights = [0.0; 8];
    for (k, (weight, [by_sin, by_cos])) in weights.iter_mut().zip(TURNS).enumerate() {
        let distance = x + 3.0 - k as f32;
        *weight = if distance.abs() < 1e-6 {
            1e30
        } else {
            let y = -f64::from(distance) * PI * 0.25;
            ((by_sin * sin + by_cos * cos) / (y * y)) as f32
        };
    }
    let inverse_sum = 1.0 / weights.iter().sum::<f32>();
    weights.map(|weight| weight * inverse_sum)
}

fn apply_columns(row: &[u8], columns: &[FixedTaps]) -> Vec<i32> {
    let channels = |taps: &FixedTaps| -> [i32; CHANNELS] {
        std::array::from_fn(|channel| {
            taps.iter().map(|&(index, weight)| i32::from(row[index * CHANNELS + channel]) * weight).sum()
        })
    };
    columns.iter().flat_map(channels).collect()
}

fn combine_rows(rows: &[Vec<i32>], taps: &FixedTaps) -> Vec<u8> {
    let term = |column: usize, &(index, weight): &(usize, i32)| i64::from(rows[index][column]) * i64::from(weight);
    let round = |sum: i64| ((sum + (1 << (FIXED_POINT_BITS - 1))) >> FIXED_POINT_BITS).clamp(0, 255) as u8;
    (0..rows[0].len()).map(|column| round(taps.iter().map(|tap| term(column, tap)).sum())).collect()
}

/// The vertical pass of the two-tap interpolations, which drops low bits early.
fn combine_two_rows(rows: &[Vec<i32>], taps: &FixedTaps) -> Vec<u8> {
    let term = |column: usize, &(index, weight): &(usize, i32)| ((rows[index][column] >> 4) * weight) >> 16;
    let round = |sum: i32| ((sum + 2) >> 2).clamp(0, 255) as u8;
    (0..rows[0].len()).map(|column| round(taps.iter().map(|tap| term(column, tap)).sum())).collect()
}

fn resize_area(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (source_w, source_h) = image.dimensions();
    let row_len = source_w as usize * CHANNELS;
    let row = |index: usize| &image.as_raw()[index * row_len..(index + 1) * row_len];
    if source_w.is_multiple_of(width) && source_h.is_multiple_of(height) {
        let (step_x, step_y) = ((source_w / width) as usize, (source_h / height) as usize);
        let scale = 1.0 / (step_x * step_y) as f32;
        let value = |x: usize, y: usize, channel: usize| {
            let pixels = (0..step_y).flat_map(|dy| (0..step_x).map(move |dx| (dx, dy)));
            let sum: u32 =
                pixels.map(|(dx, dy)| u32::from(row(y * step_y + dy)[(x * step_x + dx) * CHANNELS + channel])).sum();
            // The 2x2 case rounds halves up, the others to even.
            if (step_x, step_y) == (2, 2) { ((sum + 2) >> 2) as u8 } else { to_byte(sum as f32 * scale) }
        };
        return RgbImage::from_fn(width, height, |x, y| {
            ::image::Rgb(std::array::from_fn(|channel| value(x as usize, y as usize, channel)))
        });
    }
    let columns = area_taps(source_w, width);
    let mut bytes = Vec::with_capacity((width * height) as usize * CHANNELS);
    for taps in area_taps(source_h, height) {
        let mut sums = vec![0.0_f32; width as usize * CHANNELS];
        for (index, weight) in taps {
            let source = row(index);
            for (sums, taps) in sums.chunks_exact_mut(CHANNELS).zip(&columns) {
                for (channel, sum) in sums.iter_mut().enumerate() {
                    let value =
                        |&(index, weight): &(usize, f32)| f32::from(source[index * CHANNELS + channel]) * weight;
                    *sum += taps.iter().map(value).sum::<f32>() * weight;
                }
            }
        }
        bytes.extend(sums.into_iter().map(to_byte));
    }
    RgbImage::from_raw(width, height, bytes).expect("invariant: one byte per pixel and channel")
}

/// Source pixels that an output pixel covers, with the part of it that each makes up.
fn area_taps(source: u32, target: u32) -> Vec<Vec<(usize, f32)>> {
    const NEGLIGIBLE: f64 = 1e-3;
    let scale = f64::from(source) / f64::from(target);
    (0..target)
        .map(|position| {
            let begin = f64::from(position) * scale;
            let end = begin + scale;
            let cell = scale.min(f64::from(source) - begin);
            let first_whole = begin.ceil() as usize;
            let last_whole = (end.floor() as usize).min(source as usize - 1);
            let first_whole = first_whole.min(last_whole);
            let mut taps = Vec::new();
            if first_whole as f64 - begin > NEGLIGIBLE {
                taps.push((first_whole - 1, ((first_whole as f64 - begin) / cell) as f32));
            }
            taps.extend((first_whole..last_whole).map(|index| (index, (1.0 / cell) as f32)));
            if end - last_whole as f64 > NEGLIGIBLE {
                taps.push((last_whole, ((end - last_whole as f64).min(1.0).min(cell) / cell) as f32));
            }
            taps
        })
        .collect()
}

fn to_byte(value: f32) -> u8 {
    value.round_ties_even().clamp(0.0, 255.0) as u8
}

//! From a picture to tiles of pixels, and from sums to a picture.

use std::{
    arch::x86_64::*,
    mem::{MaybeUninit, transmute},
};

use half::bf16;

use super::super::tiles::{DEPTH, ROWS, Sums};
use crate::ops::fused::host::{
    convolution::ConvShape,
    vectors::{mask, transpose, write_rounded},
};

/// Bytes of a pixel's 32 channels: a row of a tile.
pub(super) const LINE: usize = DEPTH * size_of::<bf16>();

/// Rows and columns of an output.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) sample: usize,
    pub(super) y: usize,
    pub(super) x: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// A pixel's 32 channels.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Pixel([bf16; DEPTH]);

/// The pixels that a block depends on, `[32 channels, row, column]`, with zeros around the picture.
#[derive(Default)]
pub(super) struct Pixels {
    values: Vec<MaybeUninit<Pixel>>,
    rows: usize,
    columns: usize,
}

impl Pixels {
    /// Takes those of a block: so many rows and, rounded up, columns.
    #[expect(unsafe_code, reason = "vector instructions, which the CPU has where it has the unit")]
    pub(super) fn fill(&mut self, input: &[bf16], shape: ConvShape, block: Block, [rows, columns]: [usize; 2]) {
        let groups = shape.from.div_ceil(DEPTH);
        (self.rows, self.columns) = (rows, columns.next_multiple_of(ROWS));
        self.values.resize(groups * self.rows * self.columns, MaybeUninit::uninit());
        let [height, width] = shape.input;
        let first = |place: usize| (place * shape.stride) as isize - shape.padding as isize;
        for (index, line) in self.values.chunks_exact_mut(self.columns).enumerate() {
            let (channel, y) = (index / rows * DEPTH, first(block.y) + (index % rows) as isize);
            if y < 0 || y >= height as isize {
                line.fill(MaybeUninit::new(Pixel([bf16::ZERO; DEPTH])));
                continue;
            }
            let plane = height * width;
            let planes = &input[(block.sample * shape.from + channel) * plane..];
            let planes = &planes[..DEPTH.min(shape.from - channel) * plane];
            for (part, pixels) in line.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
                let x = first(block.x) + (part * ROWS) as isize;
                // SAFETY: the CPU has the instructions.
                unsafe { turn(planes, plane, y as usize * width, x, width, pixels) };
            }
        }
    }

    /// How far the pixels of each step of a chunk are from those of its first, in bytes.
    pub(super) fn offsets(&self, shape: ConvShape, groups: usize) -> Vec<usize> {
        let taps = shape.taps;
        let offset = |group: usize, tap: usize| (group * self.rows + tap / taps) * self.columns + tap % taps;
        (0..groups).flat_map(|group| (0..taps * taps).map(move |tap| offset(group, tap) * LINE)).collect()
    }

    /// The index of the first pixel of a tile, of the output's row and column, from a group of channels.
    pub(super) fn place(&self, shape: ConvShape, group: usize, [row, column]: [usize; 2]) -> usize {
        (group * self.rows + row * shape.stride) * self.columns + column * shape.stride
    }

    /// The memory from two pixels on.
    pub(super) fn from(&self, places: [usize; 2]) -> [&[u8]; 2] {
        places.map(|place| {
            let pixels = &self.values[place..];
            #[expect(unsafe_code, reason = "memory that was written before it is read")]
            // SAFETY: `fill` has written all pixels.
            unsafe {
                std::slice::from_raw_parts(pixels.as_ptr().cast(), size_of_val(pixels))
            }
        })
    }
}

/// Sixteen pixels of a row, from column `x` on, with their channels beside each other; zeros are outside of the row and
/// beyond the channels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "reads parts of vectors")]
fn turn(planes: &[bf16], plane: usize, row: usize, x: isize, width: usize, pixels: &mut [MaybeUninit<Pixel>; ROWS]) {
    let before = (-x).clamp(0, ROWS as isize) as usize;
    let end = (width as isize - x).clamp(0, ROWS as isize) as usize;
    let mask = (mask(end) & !mask(before)) as u16;
    let load = |channel: usize| match planes.get(channel * plane..(channel + 1) * plane) {
        // SAFETY: values outside of the row are masked, and not read.
        Some(plane) => unsafe {
            let values = plane.as_ptr().wrapping_add(row).wrapping_offset(x);
            _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, values.cast()))
        },
        None => _mm512_setzero_si512(),
    };
    let mut pairs = [_mm512_setzero_si512(); ROWS];
    for (pair, lanes) in pairs.iter_mut().enumerate() {
        *lanes = _mm512_or_si512(load(2 * pair), _mm512_slli_epi32::<16>(load(2 * pair + 1)));
    }
    transpose(&mut pairs);
    for (pixel, values) in pixels.iter_mut().zip(pairs) {
        // SAFETY: both are 64 bytes.
        pixel.write(unsafe { transmute::<__m512i, Pixel>(values) });
    }
}

/// Rounds the sums of a tile, of sixteen pixels, from a row and column of the block on, by as many channels into their place.
///
/// # Safety
/// Nobody else writes to those pixels and channels now, and the output has that shape; the CPU has the unit.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "tasks write to one picture, each its own part")]
pub(super) unsafe fn write(
    (sums, tile): (&Sums, usize),
    bias: &[f32],
    (channel, [row, column]): (usize, [usize; 2]),
    block: Block,
    shape: ConvShape,
    output: *mut bf16,
) {
    let mut vectors = sums.vectors(tile);
    transpose(&mut vectors);
    let [height, width] = shape.output;
    let first = (block.y + row) * width + block.x + column;
    let mask = mask(ROWS.min(block.columns - column)) as u16;
    for (channel, vector) in (channel..shape.to).zip(vectors) {
        let values = _mm512_add_ps(_mm512_castsi512_ps(vector), _mm512_set1_ps(bias[channel]));
        let place = (block.sample * shape.to + channel) * height * width + first;
        // SAFETY: the pixels are within the picture, and the mask ends with the block.
        unsafe { write_rounded(values, mask, output.add(place)) };
    }
}

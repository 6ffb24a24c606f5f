//! Filters, turned and packed for the products.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Direction, Panels, Value,
    transforms::{LANES, PATCH, PRODUCTS, TAPS, both, of_filter, to_filter_gradient},
};

const SQUARE: usize = TAPS * TAPS;

/// Turned filters `[to, from]` in panels of a few rows, `[panel, product, from, rows of the panel]`.
pub(super) struct Filters {
    values: Vec<f32>,
    pub(super) panels: Panels,
    pub(super) to: usize,
    pub(super) from: usize,
}

impl Filters {
    /// Turns filters, in panels of at most so many rows.
    pub(super) fn new<T: Value>(values: &[T], [to, from]: [usize; 2], direction: Direction, height: usize) -> Self {
        let panels = Panels::new(0..to, height);
        assert!(height <= LANES, "invariant: a lane for each row");
        let mut packed = vec![0.0; to * from * PRODUCTS];
        let mut rest = &mut packed[..];
        let mut parts = Vec::with_capacity(panels.count);
        for panel in panels.iter() {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(panel.len() * from * PRODUCTS);
            parts.push((panel, part));
            rest = behind;
        }
        parts.into_par_iter().for_each(|(rows, output)| {
            Arch::new().dispatch(Turn { values, dims: [to, from], direction, rows, output });
        });
        Self { values: packed, panels, to, from }
    }

    /// The panel of rows that begins at `row`, of one of the products.
    pub(super) fn panel(&self, row: usize, rows: usize, product: usize) -> &[f32] {
        let values = &self.values[row * self.from * PRODUCTS..];
        &values[product * self.from * rows..][..self.from * rows]
    }
}

struct Turn<'a, T> {
    values: &'a [T],
    dims: [usize; 2],
    direction: Direction,
    rows: std::ops::Range<usize>,
    output: &'a mut [f32],
}

impl<T: Value> WithSimd for Turn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { values, dims: dims @ [_, from], direction, rows, output } = self;
        let height = rows.len();
        for column in 0..from {
            let mut square = [[[0.0; LANES]; TAPS]; TAPS];
            for (lane, row) in rows.clone().enumerate() {
                let mut taps = [0.0; SQUARE];
                T::widen(&values[direction.filter(dims, [row, column]) * SQUARE..][..SQUARE], &mut taps);
                for tap in 0..SQUARE {
                    square[tap / TAPS][tap % TAPS][lane] = taps[direction.tap(tap, SQUARE)];
                }
            }
            let turned = both(&square, of_filter);
            // Whole vectors where what follows is written later.
            let count = if (from - column) * height < LANES { height } else { LANES };
            for (product, values) in turned.as_flattened().iter().enumerate() {
                let place = &mut output[(product * from + column) * height..];
                match place.first_chunk_mut() {
                    Some(place) if count == LANES => *place = *values,
                    _ => place[..height].copy_from_slice(&values[..height]),
                }
            }
        }
    }
}

/// From gradients of turned filters, `[product, to, from]`, to those of filters, `[to, from, 3, 3]`.
pub(super) fn gradients<T: Value>(turned: &[f32], from: usize, output: &mut [T]) {
    let filters = turned.len() / PRODUCTS;
    output.par_chunks_mut(from * SQUARE).enumerate().for_each(|(row, output)| {
        Arch::new().dispatch(TurnBack { turned, filters, first: row * from, output });
    });
}

struct TurnBack<'a, T> {
    turned: &'a [f32],
    filters: usize,
    first: usize,
    output: &'a mut [T],
}

impl<T: Value> WithSimd for TurnBack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { turned, filters, first, output } = self;
        for (index, output) in output.chunks_mut(LANES * SQUARE).enumerate() {
            let lanes = output.len() / SQUARE;
            let mut square = [[[0.0; LANES]; PATCH]; PATCH];
            for (product, values) in square.as_flattened_mut().iter_mut().enumerate() {
                values[..lanes].copy_from_slice(&turned[product * filters + first + index * LANES..][..lanes]);
            }
            let taps = both(&square, to_filter_gradient);
            for (lane, output) in output.chunks_exact_mut(SQUARE).enumerate() {
                let mut of_lane = [0.0; SQUARE];
                for (tap, values) in taps.as_flattened().iter().enumerate() {
                    of_lane[tap] = values[lane];
                }
                T::narrow(&of_lane, output);
            }
        }
    }
}

//! Filters, packed as the second side of the products.

use bytemuck::Zeroable;
use half::bf16;
use rayon::prelude::*;

use super::super::tiles::{DEPTH, PANEL_ROWS, ROWS, Step};
use crate::ops::fused::host::convolution::{ConvShape, Direction};

/// Steps of a chunk, at most: with nine taps, 18 KiB of one panel, so that its pixels fit beside it in the first cache.
const CHUNK_STEPS: usize = 9;

/// A step for each tap of each 32 channels, `[panel of 32 filters, channels, tap]`; zeros are beyond the filters.
pub(super) struct Filters {
    steps: Box<[Step]>,
    pub(super) panels: usize,
    /// Groups of 32 channels in a chunk.
    pub(super) chunk: usize,
    taps: usize,
}

impl Filters {
    fn steps([to, from]: [usize; 2], taps: usize) -> [usize; 2] {
        [to.div_ceil(PANEL_ROWS), from.div_ceil(DEPTH) * taps * taps]
    }

    pub(super) fn bytes(ConvShape { to, from, taps, .. }: ConvShape) -> usize {
        Self::steps([to, from], taps).iter().product::<usize>() * size_of::<Step>()
    }

    #[expect(unsafe_code, reason = "memory that is written before it is read")]
    pub(super) fn new(values: &[bf16], direction: Direction, shape: ConvShape) -> Self {
        let ConvShape { to, from, taps, .. } = shape;
        let ([panels, of_panel], square) = (Self::steps([to, from], taps), taps * taps);
        let mut steps = Box::new_uninit_slice(panels * of_panel);
        steps.par_chunks_mut(square).enumerate().for_each(|(index, steps)| {
            let groups = of_panel / square;
            let [filter, channel] = [index / groups * PANEL_ROWS, index % groups * DEPTH];
            for step in steps.iter_mut() {
                step.write(Step::zeroed());
            }
            // SAFETY: each was written.
            let steps = unsafe { steps.assume_init_mut() };
            for (row, filter) in (filter..to.min(filter + PANEL_ROWS)).enumerate() {
                for (depth, channel) in (channel..from.min(channel + DEPTH)).enumerate() {
                    let place = row / ROWS * ROWS * DEPTH + depth / 2 * DEPTH + row % ROWS * 2 + depth % 2;
                    let values = &values[direction.filter([to, from], [filter, channel]) * square..][..square];
                    for (tap, step) in steps.iter_mut().enumerate() {
                        step.0[place] = values[direction.tap(tap, square)];
                    }
                }
            }
        });
        // SAFETY: each was written.
        Self { steps: unsafe { steps.assume_init() }, panels, chunk: (CHUNK_STEPS / square).max(1), taps }
    }

    /// The steps of a panel, chunk by chunk.
    pub(super) fn panel(&self, panel: usize) -> impl Iterator<Item = &[Step]> {
        let of_panel = self.steps.len() / self.panels;
        self.steps[panel * of_panel..][..of_panel].chunks(self.chunk * self.taps * self.taps)
    }
}

//! How a product is cut: the output into tasks, rows into panels, the summed axis into chunks.

use std::ops::Range;

/// Items of a chunk: a panel of columns of it takes 32 KiB.
const CHUNK_ITEMS: usize = 256;
/// The most rows and columns of a task: sums of 2 MiB.
const MOST: [usize; 2] = [1088, 512];
/// Rows and columns down to which a task is cut for the sake of more tasks.
const LEAST: [usize; 2] = [128, 64];

/// Rows and columns of a task, so that there are as many tasks as wanted where the output is large enough.
pub(super) fn task_size([rows, columns]: [usize; 2], wanted: usize, panel: usize) -> [usize; 2] {
    let mut parts = [rows.div_ceil(MOST[0]), columns.div_ceil(MOST[1])];
    loop {
        let size @ [height, width] = [rows.div_ceil(parts[0]), columns.div_ceil(parts[1]).next_multiple_of(panel)];
        let can_cut = [height >= 2 * LEAST[0], width >= 2 * LEAST[1]];
        if parts[0] * parts[1] >= wanted || can_cut == [false; 2] {
            return size;
        }
        let axis = usize::from(can_cut[1] && (width >= height || !can_cut[0]));
        parts[axis] *= 2;
    }
}

/// Rows in panels of nearly equal height.
#[derive(Clone)]
pub(in crate::ops::fused::host) struct Panels {
    rows: Range<usize>,
    pub(in crate::ops::fused::host) count: usize,
}

impl Panels {
    pub(in crate::ops::fused::host) fn new(rows: Range<usize>, most: usize) -> Self {
        Self { count: rows.len().div_ceil(most), rows }
    }

    pub(in crate::ops::fused::host) fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        let start = |panel: usize| self.rows.start + panel * self.rows.len() / self.count;
        (0..self.count).map(move |panel| start(panel)..start(panel + 1))
    }
}

/// The summed axis in chunks, whose order and sizes depend on its length alone.
#[derive(Clone, Copy)]
pub(in crate::ops::fused::host) struct Chunks {
    depth: usize,
    values: usize,
    pub(in crate::ops::fused::host) count: usize,
}

impl Chunks {
    /// Of an axis of which an item has `item` values, and a vector `vector`.
    pub(in crate::ops::fused::host) fn new(depth: usize, item: usize, vector: usize) -> Self {
        let count = depth.div_ceil(CHUNK_ITEMS * item);
        let values = depth.div_ceil(count).next_multiple_of(vector);
        Self { depth, values, count: depth.div_ceil(values) }
    }

    /// Values of the longest chunk.
    pub(in crate::ops::fused::host) fn longest(&self) -> usize {
        self.values.min(self.depth)
    }

    pub(in crate::ops::fused::host) fn get(&self, chunk: usize) -> Range<usize> {
        chunk * self.values..self.depth.min((chunk + 1) * self.values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_the_whole(length in 1..40_000_usize, pairs: bool) {
            let (item, vector) = if pairs { (2, 32) } else { (1, 16) };
            let chunks = Chunks::new(length, item, vector);
            let mut end = 0;
            for chunk in (0..chunks.count).map(|chunk| chunks.get(chunk)) {
                prop_assert!(chunk.start == end && chunk.start % vector == 0 && !chunk.is_empty());
                prop_assert!(chunk.len() <= chunks.longest() && chunks.longest() <= CHUNK_ITEMS * item);
                end = chunk.end;
            }
            prop_assert_eq!(end, length);
            let panels = Panels::new(7..7 + length, 14);
            let mut end = 7;
            for panel in panels.iter() {
                prop_assert!(panel.start == end && (1..=14).contains(&panel.len()));
                end = panel.end;
            }
            prop_assert_eq!(end, 7 + length);
        }

        #[test]
        fn tasks_are_as_many_as_wanted(rows in 1..20_000_usize, columns in 1..60_000_usize, wanted in 1..600_usize) {
            let [height, width] = task_size([rows, columns], wanted, 32);
            prop_assert!(height >= 1 && height <= MOST[0] && width % 32 == 0 && width <= MOST[1]);
            let count = rows.div_ceil(height) * columns.div_ceil(width);
            prop_assert!(count >= wanted / 2 || height < 2 * LEAST[0] && width < 2 * LEAST[1]);
        }
    }
}

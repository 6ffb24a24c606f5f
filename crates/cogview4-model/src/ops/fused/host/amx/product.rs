//! A product in blocks that fit the caches.
//!
//! One side, the smaller, is packed once. Of the other, a task takes a few panels; it goes through the summed axis
//! chunk by chunk, packs one panel at a time, and multiplies it with all panels of its part of the first side.

use std::mem::MaybeUninit;

use half::bf16;
use rayon::prelude::*;

use super::{
    output::Output,
    pack::Role,
    tiles::{DEPTH, MOST_STEPS, PANEL_ROWS, Step, Sums, Tiles},
};
use crate::ops::fused::host::matrix::Matrix;

/// How deep a chunk is: a panel of it, 16 KiB, and the one that it meets fit the first cache.
const CHUNK_DEPTH: usize = MOST_STEPS * DEPTH;
/// Panels of the streamed side in a task.
const TASK_PANELS: usize = 8;
/// Rows of the packed side in a task: with [`TASK_PANELS`], the sums of a task take half of a second cache of 2 MiB.
const TASK_ROWS: usize = 1088;
/// Tasks a thread, at least, where the product is large enough.
const TASKS: usize = 4;

/// `output[i][j] = sum over k of rows[i][k] columns[j][k], + bias[j]`.
pub(in super::super) fn product(rows: Matrix<'_>, columns: Matrix<'_>, bias: Option<&[f32]>, output: &mut [bf16]) {
    assert_eq!(rows.depth, columns.depth, "invariant: one axis that is summed over");
    assert_eq!(output.len(), rows.rows * columns.rows, "invariant: room for each sum");
    assert!(bias.is_none_or(|bias| bias.len() == columns.rows), "invariant: a bias for each column");
    let is_streaming_rows = rows.rows > columns.rows;
    // Tiles of A have the memory's order where it goes by rows, those of B where it goes by columns; what is streamed
    // is packed more often.
    let rows_are_a = match (rows.is_by_rows, columns.is_by_rows) {
        (true, true) => is_streaming_rows,
        (rows_by_rows, columns_by_rows) => rows_by_rows || !columns_by_rows,
    };
    let output =
        Output { values: output.as_mut_ptr(), dims: [rows.rows, columns.rows], bias, is_transposed: !rows_are_a };
    let role = |is_a: bool| if is_a { Role::A } else { Role::B };
    let sides = [(rows, role(rows_are_a)), (columns, role(!rows_are_a))];
    let [streamed, packed] = if is_streaming_rows { sides } else { [sides[1], sides[0]] };
    let chunks = Chunks::of_depth(rows.depth);
    let packed = Packed::new(packed.0, packed.1, chunks);
    Product { streamed, packed, is_streaming_rows, chunks, output }.run();
}

/// The summed axis, in chunks of equal size.
#[derive(Clone, Copy)]
struct Chunks {
    count: usize,
    steps: usize,
}

impl Chunks {
    fn of_depth(depth: usize) -> Self {
        let count = depth.div_ceil(CHUNK_DEPTH);
        Self { count, steps: depth.div_ceil(DEPTH).div_ceil(count) }
    }
}

/// A side that is packed as a whole: chunk by chunk, in each panel by panel.
struct Packed {
    steps: Box<[Step]>,
    panels: usize,
}

impl Packed {
    #[expect(unsafe_code, reason = "memory that is written before it is read")]
    fn new(matrix: Matrix<'_>, role: Role, chunks: Chunks) -> Self {
        let panels = matrix.panels();
        let mut steps = Box::new_uninit_slice(chunks.count * panels * chunks.steps);
        steps.par_chunks_mut(chunks.steps).enumerate().for_each(|(index, steps)| {
            matrix.pack(role, index % panels, index / panels * chunks.steps, steps);
        });
        // SAFETY: each was packed.
        Self { steps: unsafe { steps.assume_init() }, panels }
    }

    fn panel(&self, chunk: usize, panel: usize, chunks: Chunks) -> &[Step] {
        &self.steps[(chunk * self.panels + panel) * chunks.steps..][..chunks.steps]
    }
}

struct Product<'a> {
    streamed: (Matrix<'a>, Role),
    packed: Packed,
    is_streaming_rows: bool,
    chunks: Chunks,
    output: Output<'a>,
}

/// What a thread needs beside the matrices.
#[derive(Default)]
struct Scratch {
    panel: Vec<MaybeUninit<Step>>,
    sums: Vec<Sums>,
}

impl Product<'_> {
    fn run(&self) {
        let panels = self.streamed.0.panels();
        let parts = self.packed.panels.div_ceil(TASK_ROWS / PANEL_ROWS);
        let part = self.packed.panels.div_ceil(parts);
        let wanted = (TASKS * rayon::current_num_threads()).div_ceil(parts);
        let task_panels = (panels / wanted).clamp(1, TASK_PANELS);
        (0..panels.div_ceil(task_panels) * parts).into_par_iter().for_each_init(Scratch::default, |scratch, task| {
            let (streamed, packed) = (task / parts * task_panels, task % parts * part);
            self.task(
                [streamed, panels.min(streamed + task_panels)],
                [packed, self.packed.panels.min(packed + part)],
                scratch,
            );
        });
    }

    /// Multiplies a range of panels of the streamed side with one of the packed side.
    #[expect(unsafe_code, reason = "tasks write to one matrix, each its own part")]
    fn task(&self, streamed: [usize; 2], packed: [usize; 2], scratch: &mut Scratch) {
        let (chunks, (matrix, role)) = (self.chunks, self.streamed);
        let width = packed[1] - packed[0];
        scratch.panel.resize_with(chunks.steps, MaybeUninit::uninit);
        scratch.sums.resize((streamed[1] - streamed[0]) * width, Sums::default());
        let tiles = Tiles::set_up();
        for chunk in 0..chunks.count {
            for (index, panel) in (streamed[0]..streamed[1]).enumerate() {
                let steps = matrix.pack(role, panel, chunk * chunks.steps, &mut scratch.panel);
                let next = if panel + 1 < streamed[1] { (panel + 1, chunk) } else { (streamed[0], chunk + 1) };
                for (other, sums) in scratch.sums[index * width..][..width].iter_mut().enumerate() {
                    matrix.prefetch(next.0, next.1 * chunks.steps, chunks.steps, [other, width]);
                    let other = self.packed.panel(chunk, packed[0] + other, chunks);
                    let [a, b] = if role == Role::A { [steps, other] } else { [other, steps] };
                    tiles.multiply(a, b, sums, chunk == 0);
                }
            }
        }
        drop(tiles);
        // Along the output's rows, so that its memory is written in order.
        let height = streamed[1] - streamed[0];
        for index in 0..width * height {
            let (streamed_index, packed_index) = match self.is_streaming_rows {
                true => (index / width, index % width),
                false => (index % height, index / height),
            };
            let sums = &scratch.sums[streamed_index * width + packed_index];
            let pair = [streamed[0] + streamed_index, packed[0] + packed_index];
            let [first, second] = if role == Role::A { pair } else { [pair[1], pair[0]] };
            // SAFETY: these two panels are this task's alone, and `product` has seen how large output and bias are.
            unsafe { self.output.write(sums, [first, second]) };
        }
    }
}

//! One side of a product.

use half::bf16;

/// `[rows, depth]`, where `depth` is the axis that is summed over.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [bf16],
    pub(super) rows: usize,
    pub(super) depth: usize,
    /// Whether the values of a row lie next to each other; else those of a column.
    pub(super) is_by_rows: bool,
}

impl<'a> Matrix<'a> {
    /// Of values `[rows, depth]`.
    pub(super) fn by_rows(values: &'a [bf16], rows: usize, depth: usize) -> Self {
        Self::new(values, rows, depth, true)
    }

    /// Of values `[depth, rows]`.
    pub(super) fn by_columns(values: &'a [bf16], rows: usize, depth: usize) -> Self {
        Self::new(values, rows, depth, false)
    }

    fn new(values: &'a [bf16], rows: usize, depth: usize, is_by_rows: bool) -> Self {
        assert_eq!(values.len(), rows * depth, "invariant: all values of the matrix");
        Self { values, rows, depth, is_by_rows }
    }
}

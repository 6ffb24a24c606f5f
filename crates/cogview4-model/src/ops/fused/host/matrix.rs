//! One side of a product.

use half::bf16;

/// `[rows, depth]`, where `depth` is the axis that is summed over.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T = bf16> {
    pub(super) values: &'a [T],
    pub(super) rows: usize,
    pub(super) depth: usize,
    /// From one row to the next, or from one column to the next.
    pub(super) stride: usize,
    /// Whether the values of a row lie next to each other; else those of a column.
    pub(super) is_by_rows: bool,
}

impl<'a, T> Matrix<'a, T> {
    /// Of values `[rows, depth]`.
    pub(super) fn by_rows(values: &'a [T], rows: usize, depth: usize) -> Self {
        assert_eq!(values.len(), rows * depth, "invariant: all values of the matrix");
        Self { values, rows, depth, stride: depth, is_by_rows: true }
    }

    /// Of values `[depth, rows]`.
    pub(super) fn by_columns(values: &'a [T], rows: usize, depth: usize) -> Self {
        assert_eq!(values.len(), rows * depth, "invariant: all values of the matrix");
        Self { values, rows, depth, stride: rows, is_by_rows: false }
    }

    /// Of rows that begin `stride` values apart.
    pub(super) fn of_part(values: &'a [T], rows: usize, depth: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + depth <= values.len(), "invariant: all values of the matrix");
        Self { values, rows, depth, stride, is_by_rows: true }
    }
}

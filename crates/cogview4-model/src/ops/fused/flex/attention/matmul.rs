//! Products of single blocks.

use gemm::Parallelism;

/// A matrix that lies in memory row by row as a product takes it, or transposed.
pub(super) enum Operand<'a> {
    Plain(&'a [f32]),
    Transposed(&'a [f32]),
}
pub(super) use Operand::{Plain, Transposed};

impl<'a> Operand<'a> {
    /// The values, and the strides of columns and rows of a matrix with so many of them.
    fn strides(self, rows: usize, columns: usize) -> (&'a [f32], isize, isize) {
        match self {
            Plain(matrix) => (matrix, 1, columns as isize),
            Transposed(matrix) => (matrix, rows as isize, 1),
        }
    }
}

/// `output = scale * left * right` on the calling thread, or `+=` when it accumulates; `left` is `[m, k]`, `right`
/// `[k, n]`, `output` `[m, n]` and row-major.
#[expect(unsafe_code, reason = "gemm takes pointers")]
pub(super) fn matmul(
    output: &mut [f32],
    add: bool,
    left: Operand<'_>,
    right: Operand<'_>,
    [m, k, n]: [usize; 3],
    scale: f32,
) {
    let (left, left_column, left_row) = left.strides(m, k);
    let (right, right_column, right_row) = right.strides(k, n);
    assert_eq!((output.len(), left.len(), right.len()), (m * n, m * k, k * n), "matrices have the sizes given");
    // SAFETY: with the strides above and the sizes just checked, every index lies within its slice, and `output` is
    // borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            n as isize,
            add,
            left.as_ptr(),
            left_column,
            left_row,
            right.as_ptr(),
            right_column,
            right_row,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

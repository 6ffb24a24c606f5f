//! The sizes of a convolution, and the order of its filters.

/// Pictures `[B, from, H, W]` to `[B, to, H', W']`, by squares of taps, with zeros around.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops::fused) struct ConvShape {
    pub(in super::super) batch: usize,
    pub(in super::super) from: usize,
    pub(in super::super) to: usize,
    /// Height and width of the input.
    pub(in super::super) input: [usize; 2],
    /// Height and width of the output.
    pub(in super::super) output: [usize; 2],
    /// Taps in each direction.
    pub(in super::super) taps: usize,
    pub(in super::super) stride: usize,
    /// Rows and columns of zeros on each side.
    pub(in super::super) padding: usize,
}

impl ConvShape {
    /// Of batch and channels from and to.
    pub(in crate::ops::fused) fn new(
        [batch, from, to]: [usize; 3],
        input: [usize; 2],
        taps: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        let output = input.map(|size| (size + 2 * padding - taps) / stride + 1);
        Self { batch, from, to, input, output, taps, stride, padding }
    }
}

/// Which filter leads from one channel to another.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Direction {
    /// As a convolution has it: `[to, from, taps]`.
    Forward,
    /// As the gradient of its input has it: `[from, to, taps]`, turned around.
    Backward,
}

impl Direction {
    /// The index of the filter between two channels.
    #[inline(always)]
    pub(in super::super) fn filter(self, [to, from]: [usize; 2], [row, column]: [usize; 2]) -> usize {
        match self {
            Self::Forward => row * from + column,
            Self::Backward => column * to + row,
        }
    }

    /// The index of a tap, of so many.
    #[inline(always)]
    pub(in super::super) fn tap(self, tap: usize, taps: usize) -> usize {
        match self {
            Self::Forward => tap,
            Self::Backward => taps - 1 - tap,
        }
    }
}

//! Whether all numbers of a step are finite: known at once where the host computes, and read when it is asked for where a
//! device does, so that nothing waits for it before.

use burn::tensor::Tensor;

/// What is known of the numbers of a step, or of a part of it.
#[derive(Debug)]
pub(crate) struct AllFinite {
    is_finite: bool,
    /// Sums of absolute values, each of one value.
    sums: Vec<Tensor<1>>,
}

impl Default for AllFinite {
    /// No numbers.
    fn default() -> Self {
        Self { is_finite: true, sums: Vec::new() }
    }
}

impl From<bool> for AllFinite {
    fn from(is_finite: bool) -> Self {
        Self { is_finite, ..Self::default() }
    }
}

impl AllFinite {
    /// Adds the sum of absolute values, `[1]` in f32: finite where they are, unless they are beyond all use.
    pub(super) fn add(&mut self, sum: Tensor<1>) {
        self.sums.push(sum);
    }

    /// Of the numbers of both.
    pub(crate) fn and(&mut self, others: Self) {
        self.is_finite &= others.is_finite;
        self.sums.extend(others.sums);
    }

    /// Whether all are finite.
    pub(crate) fn is_finite(&self) -> bool {
        if self.sums.is_empty() {
            return self.is_finite;
        }
        let sums = Tensor::cat(self.sums.clone(), 0).into_data().try_into_vec::<f32>().expect("invariant: in f32");
        self.is_finite && sums.iter().all(|sum| sum.is_finite())
    }
}

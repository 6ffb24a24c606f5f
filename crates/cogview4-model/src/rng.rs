//! `torch.Generator("cpu")`: the same seed gives the same normal numbers as in PyTorch, so it means the same picture.
//!
//! Source: `aten/src/ATen/native/cpu/DistributionTemplates.h` and `aten/src/ATen/core/DistributionsHelper.h` of
//! PyTorch 2.9. PyTorch's vectorised logarithm, sine and cosine differ from ours in the last bits: equal means
//! within 1e-6.

use std::f64::consts::TAU;

use rand_mt::Mt;

/// The CPU generator of PyTorch: a Mersenne Twister with PyTorch's way of making normal numbers.
///
/// ```
/// use cogview4_model::TorchGenerator;
///
/// // torch.randn(2, generator=torch.Generator("cpu").manual_seed(0))
/// let noise = TorchGenerator::new(0).randn(2);
/// assert!((noise[0] - 1.5410).abs() < 1e-4 && (noise[1] + 0.2934).abs() < 1e-4);
/// ```
#[derive(Debug, Clone)]
pub struct TorchGenerator {
    engine: Mt,
    /// The second number of a pair drawn in double precision; it survives to the next call.
    next_normal: Option<f64>,
}

/// Numbers that are made together: the first eight from the second eight.
const BLOCK: usize = 16;

impl TorchGenerator {
    /// `torch.Generator("cpu").manual_seed(seed)`; only the low 32 bits count, as in PyTorch.
    pub fn new(seed: u64) -> Self {
        Self { engine: Mt::new((seed & u64::from(u32::MAX)) as u32), next_normal: None }
    }

    /// `torch.randn(count, generator=self)`, in the order of memory.
    pub fn randn(&mut self, count: usize) -> Vec<f32> {
        if count < BLOCK {
            return (0..count).map(|_| self.normal_f64() as f32).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform_f32()).collect();
        for block in values.chunks_exact_mut(BLOCK) {
            box_muller(block);
        }
        if !count.is_multiple_of(BLOCK) {
            let tail = &mut values[count - BLOCK..];
            tail.fill_with(|| self.uniform_f32());
            box_muller(tail);
        }
        values
    }

    /// Uniform in [0, 1) from the 24 low bits of a draw.
    fn uniform_f32(&mut self) -> f32 {
        (self.engine.next_u32() & ((1 << 24) - 1)) as f32 / (1_u32 << 24) as f32
    }

    /// Uniform in [0, 1) from the 53 low bits of two draws, the first of them the high half.
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.engine.next_u32());
        let low = u64::from(self.engine.next_u32());
        ((high << 32 | low) & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }

    fn normal_f64(&mut self) -> f64 {
        if let Some(value) = self.next_normal.take() {
            return value;
        }
        let theta = TAU * self.uniform_f64();
        let radius = (-2.0 * (-self.uniform_f64()).ln_1p()).sqrt();
        self.next_normal = Some(radius * theta.sin());
        radius * theta.cos()
    }
}

/// Turns sixteen uniform numbers into sixteen normal ones, in place.
fn box_muller(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(BLOCK / 2);
    for (a, b) in first.iter_mut().zip(second) {
        let radius = (-2.0 * (1.0 - *a).ln()).sqrt();
        let theta = std::f32::consts::TAU * *b;
        (*a, *b) = (radius * theta.cos(), radius * theta.sin());
    }
}

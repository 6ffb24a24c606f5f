//! The numbers of one step, and its arithmetic on values in the host's memory.

use pulp::Arch;
use rayon::prelude::*;

use super::{AdamWConfig, buffers::with_buffer, state::Chunks, sum::HostGradient};

/// The numbers of one step. PyTorch computes them in f64 and rounds them where they meet a tensor.
pub(super) struct Scalars {
    pub keep: f32,
    pub step_size: f32,
    pub weight1: f32,
    pub beta2: f32,
    pub weight2: f32,
    pub correction2_sqrt: f32,
    pub epsilon: f32,
}

impl Scalars {
    pub(super) fn new(config: &AdamWConfig, number: usize, learning_rate: f64) -> Self {
        let AdamWConfig { beta1, beta2, weight_decay, epsilon } = *config;
        let number = i32::try_from(number).ok().filter(|number| *number > 0).expect("steps are counted from 1");
        Self {
            keep: (1.0 - learning_rate * weight_decay) as f32,
            step_size: (learning_rate / (1.0 - beta1.powi(number))) as f32,
            weight1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            weight2: (1.0 - beta2) as f32,
            correction2_sqrt: (1.0 - beta2.powi(number)).sqrt() as f32,
            epsilon: epsilon as f32,
        }
    }

    /// Updates a parameter; says whether it and its second moment stayed finite.
    pub(super) fn update_all(&self, [parameters, firsts, seconds]: Chunks<'_>, gradient: &HostGradient) -> bool {
        let chunks = parameters.into_par_iter().zip(firsts).zip(seconds).enumerate();
        let broken = chunks.map(|(index, ((parameter, first), second))| {
            with_buffer(|buffer| {
                let gradient = gradient.chunk(index, buffer);
                parameter.with(|parameter| {
                    first.with(|exp_avg| {
                        second.with(|exp_avg_sq| {
                            Arch::new().dispatch(
                                #[inline(always)]
                                || self.update(parameter, gradient, exp_avg, exp_avg_sq),
                            )
                        })
                    })
                })
            })
        });
        // Every chunk is updated, whatever the others gave.
        broken.reduce(|| 0, |a, b| a | b) == 0
    }

    /// Updates a chunk; gives 0 where it and its second moment stayed finite.
    #[inline(always)]
    fn update(&self, parameter: &mut [f32], gradient: &[f32], exp_avg: &mut [f32], exp_avg_sq: &mut [f32]) -> u32 {
        /// The bits of an exponent that only infinities and what is not a number have all set.
        const EXPONENT: u32 = 0x7f80_0000;
        let len = parameter.len();
        let (gradient, exp_avg, exp_avg_sq) = (&gradient[..len], &mut exp_avg[..len], &mut exp_avg_sq[..len]);
        let mut is_broken = 0;
        for i in 0..len {
            let gradient = gradient[i];
            exp_avg[i] += self.weight1 * (gradient - exp_avg[i]);
            exp_avg_sq[i] = exp_avg_sq[i] * self.beta2 + self.weight2 * (gradient * gradient);
            let denominator = exp_avg_sq[i].sqrt() / self.correction2_sqrt + self.epsilon;
            parameter[i] = parameter[i] * self.keep - self.step_size * (exp_avg[i] / denominator);
            let bits = [parameter[i], exp_avg_sq[i]].map(|value| value.to_bits() & EXPONENT == EXPONENT);
            is_broken |= u32::from(bits[0]) | u32::from(bits[1]);
        }
        is_broken
    }
}

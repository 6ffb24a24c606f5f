//! Learning-rate schedules as diffusers' `get_scheduler` defines them: a pure function of the step, so resuming needs no
//! state. Source: `optimization.py` of diffusers 0.42.1.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The form of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum LrScheduler {
    /// Falls in a line to 0.
    Linear,
    /// Falls as half a cosine to 0.
    Cosine,
    /// As often as there are cycles, falls as half a cosine to 0.
    CosineWithRestarts,
    /// Falls as a power to 1e-7.
    Polynomial,
    /// Always the same, without warm-up.
    Constant,
    /// Always the same after the warm-up.
    ConstantWithWarmup,
}

/// A schedule with its numbers.
///
/// ```
/// use cogview4_trainer::{LrSchedule, LrScheduler};
///
/// let schedule = LrSchedule {
///     scheduler: LrScheduler::Linear,
///     learning_rate: 1.0,
///     warmup_steps: 2,
///     num_cycles: 1,
///     power: 1.0,
/// };
/// let rates: Vec<f64> = (0..6).map(|step| schedule.at(step, 6)).collect();
/// assert_eq!(rates, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LrSchedule {
    /// The form.
    pub scheduler: LrScheduler,
    /// The rate that the form scales.
    pub learning_rate: f64,
    /// Steps of the warm-up, from 0 in a line.
    pub warmup_steps: usize,
    /// Cycles of `cosine_with_restarts`.
    pub num_cycles: usize,
    /// Power of `polynomial`.
    pub power: f64,
}

/// Where `polynomial` ends.
const POLYNOMIAL_END: f64 = 1e-7;

impl LrSchedule {
    /// The learning rate of a step, the first is 0, in a run of `total` steps.
    pub fn at(&self, step: usize, total: usize) -> f64 {
        self.learning_rate * self.factor(step as f64, total as f64)
    }

    /// Whether the rate of a step depends on how long the run is.
    pub(crate) fn depends_on_total(&self) -> bool {
        !matches!(self.scheduler, LrScheduler::Constant | LrScheduler::ConstantWithWarmup)
    }

    fn factor(&self, step: f64, total: f64) -> f64 {
        let warmup = self.warmup_steps as f64;
        if self.scheduler == LrScheduler::Constant {
            return 1.0;
        }
        if step < warmup {
            return step / warmup.max(1.0);
        }
        let progress = (step - warmup) / (total - warmup).max(1.0);
        let half_cosine = |part: f64| 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
        match self.scheduler {
            LrScheduler::Constant | LrScheduler::ConstantWithWarmup => 1.0,
            LrScheduler::Linear => ((total - step) / (total - warmup).max(1.0)).max(0.0),
            LrScheduler::Cosine => half_cosine(progress).max(0.0),
            LrScheduler::CosineWithRestarts if progress >= 1.0 => 0.0,
            LrScheduler::CosineWithRestarts => half_cosine((self.num_cycles as f64 * progress) % 1.0).max(0.0),
            LrScheduler::Polynomial if step > total => POLYNOMIAL_END / self.learning_rate,
            LrScheduler::Polynomial => {
                let remaining = 1.0 - (step - warmup) / (total - warmup);
                let range = self.learning_rate - POLYNOMIAL_END;
                (range * remaining.powf(self.power) + POLYNOMIAL_END) / self.learning_rate
            }
        }
    }
}

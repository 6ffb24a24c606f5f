//! Learning-rate schedules as diffusers' `get_scheduler` defines them: a pure function of the step, so resuming needs
//! no state. Source: `optimization.py` of diffusers 0.42.1.

use serde::{Deserialize, Serialize};

use crate::names::names;

/// The form of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchedulerType {
    /// A straight line to 0.
    Linear,
    /// Half a cosine to 0.
    Cosine,
    /// Half a cosine to 0, once per cycle.
    CosineWithRestarts,
    /// A power that ends at 1e-7.
    Polynomial,
    /// Always the same, without warm-up.
    Constant,
    /// Always the same after the warm-up.
    ConstantWithWarmup,
}

names!(SchedulerType {
    Linear = "linear",
    Cosine = "cosine",
    CosineWithRestarts = "cosine_with_restarts",
    Polynomial = "polynomial",
    Constant = "constant",
    ConstantWithWarmup = "constant_with_warmup",
});

/// A schedule with its numbers.
///
/// ```
/// use cogview4_trainer::{LrSchedule, SchedulerType};
///
/// let schedule = LrSchedule {
///     scheduler: SchedulerType::Linear,
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
    pub scheduler: SchedulerType,
    /// The rate that the form scales.
    pub learning_rate: f64,
    /// Steps of the warm-up, from 0 in a line.
    pub warmup_steps: usize,
    /// Cycles of `cosine_with_restarts`.
    pub num_cycles: usize,
    /// Power of `polynomial`.
    pub power: f64,
}

impl Default for LrSchedule {
    /// The reference's.
    fn default() -> Self {
        let scheduler = SchedulerType::Constant;
        Self { scheduler, learning_rate: 5e-6, warmup_steps: 500, num_cycles: 1, power: 1.0 }
    }
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
        !matches!(self.scheduler, SchedulerType::Constant | SchedulerType::ConstantWithWarmup)
    }

    fn factor(&self, step: f64, total: f64) -> f64 {
        let warmup = self.warmup_steps as f64;
        if self.scheduler == SchedulerType::Constant {
            return 1.0;
        }
        if step < warmup {
            return step / warmup.max(1.0);
        }
        let progress = (step - warmup) / (total - warmup).max(1.0);
        let half_cosine = |part: f64| 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
        match self.scheduler {
            SchedulerType::Constant | SchedulerType::ConstantWithWarmup => 1.0,
            SchedulerType::Linear => ((total - step) / (total - warmup).max(1.0)).max(0.0),
            SchedulerType::Cosine => half_cosine(progress).max(0.0),
            SchedulerType::CosineWithRestarts if progress >= 1.0 => 0.0,
            SchedulerType::CosineWithRestarts => half_cosine((self.num_cycles as f64 * progress) % 1.0).max(0.0),
            SchedulerType::Polynomial if step > total => POLYNOMIAL_END / self.learning_rate,
            SchedulerType::Polynomial => {
                let remaining = 1.0 - (step - warmup) / (total - warmup);
                let range = self.learning_rate - POLYNOMIAL_END;
                (range * remaining.powf(self.power) + POLYNOMIAL_END) / self.learning_rate
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::json;

    #[test]
    fn the_six_schedules() {
        for case in json("lr_schedules.json").as_array().unwrap() {
            let number = |key: &str| case[key].as_u64().unwrap() as usize;
            let scheduler: SchedulerType = serde_json::from_value(case["scheduler"].clone()).unwrap();
            let schedule = LrSchedule {
                scheduler,
                learning_rate: 3e-4,
                warmup_steps: number("warmup_steps"),
                num_cycles: number("num_cycles"),
                power: case["power"].as_f64().unwrap(),
            };
            for (step, rate) in case["rates"].as_array().unwrap().iter().enumerate() {
                let (found, expected) = (schedule.at(step, number("total")), rate.as_f64().unwrap());
                assert!((found - expected).abs() <= 1e-18, "{scheduler:?}, step {step}: {found} {expected}");
            }
        }
    }
}

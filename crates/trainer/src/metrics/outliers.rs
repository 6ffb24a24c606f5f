//! How far a step's loss and norm lie from those of the steps before it.

use std::collections::VecDeque;

use super::StepMetrics;

/// Steps that a step is held against.
const WINDOW: usize = 128;
/// Before there are so many, nothing is said.
const LEAST: usize = 16;
/// A step beyond this many standard deviations is marked.
pub(crate) const OUTLIER: f64 = 4.0;
/// Standard deviations are written with this part of one.
const UNIT: f64 = 1e-3;

/// The last steps of a run.
#[derive(Debug, Default)]
pub(crate) struct Outliers {
    losses: Window,
    norms: Window,
}

impl Outliers {
    /// Goes on after steps that were measured before.
    pub(crate) fn after(steps: &[StepMetrics]) -> Self {
        let mut outliers = Self::default();
        for step in &steps[steps.len().saturating_sub(WINDOW)..] {
            outliers.losses.push(step.loss);
            outliers.norms.push(step.grad_norm);
        }
        outliers
    }

    /// The step with what is said of it.
    pub(crate) fn judge(&mut self, step: StepMetrics) -> StepMetrics {
        let (loss_z, grad_norm_z) = (self.losses.z(step.loss), self.norms.z(step.grad_norm));
        self.losses.push(step.loss);
        self.norms.push(step.grad_norm);
        StepMetrics { loss_z, grad_norm_z, ..step }
    }
}

#[derive(Debug, Default)]
struct Window(VecDeque<f64>);

impl Window {
    fn push(&mut self, value: f64) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// Standard deviations from the mean; rounded, so that a run that goes on says the same.
    fn z(&self, value: f64) -> Option<f64> {
        let count = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / count;
        let deviation = (self.0.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        let z = ((value - mean) / deviation / UNIT).round() * UNIT;
        (self.0.len() >= LEAST && z.is_finite()).then_some(z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_held_against_those_before_it() {
        let mut window = Window::default();
        for step in 0..200_u32 {
            let z = window.z(f64::from(step % 2));
            assert_eq!(z.is_some(), step as usize >= LEAST, "{step}");
            assert!(z.is_none_or(|z| z.abs() < 1.1));
            window.push(f64::from(step % 2));
        }
        assert_eq!(window.0.len(), WINDOW);
        assert_eq!(window.z(5.5), Some(10.0));
        let constant = Window(vec![1.0; WINDOW].into());
        assert_eq!((constant.z(1.0), constant.z(2.0)), (None, None), "without a deviation there is no measure");
    }
}

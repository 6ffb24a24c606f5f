//! `FlowMatchEulerDiscreteScheduler` of diffusers: the noise levels of a run, and the Euler step between them.
//!
//! Source: `schedulers/scheduling_flow_match_euler_discrete.py` and `pipelines/cogview4/pipeline_cogview4_control.py`
//! of diffusers 0.42.1. Two series are kept apart: the model is told the *unshifted* timestep, the noise level is
//! the *shifted* sigma. All of it is computed in f32, as there.

use std::path::Path;

use burn::tensor::{DType, Tensor};
use serde::Deserialize;

use crate::{
    config_file,
    error::{ModelError, Result},
};

/// A shifted noise level, which should be at most 1, may be rounded up to this.
const MAX_SHIFTED: f32 = 1.0 + 1e-5;

/// How the noise levels move with the size of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeShiftType {
    /// `e^mu / (e^mu + 1/sigma - 1)`.
    Exponential,
    /// `mu / (mu + 1/sigma - 1)`, as CogView4 does.
    Linear,
}

/// `scheduler_config.json`; what a file leaves out has the default of diffusers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct FlowMatchEulerSchedulerConfig {
    /// Timesteps run from this number down to 1.
    pub num_train_timesteps: usize,
    /// Shift of the noise levels when it does not depend on the size.
    pub shift: f32,
    /// Whether the shift depends on the size of the picture.
    pub use_dynamic_shifting: bool,
    /// `mu = max_shift * sqrt(patches / base_image_seq_len) + base_shift`.
    pub base_shift: Option<f64>,
    /// See [`base_shift`](Self::base_shift).
    pub max_shift: Option<f64>,
    /// See [`base_shift`](Self::base_shift).
    pub base_image_seq_len: Option<usize>,
    /// The form of the dynamic shift.
    pub time_shift_type: TimeShiftType,
    /// Stretches the levels so that the last one has this value.
    pub shift_terminal: Option<f32>,
    invert_sigmas: bool,
    use_karras_sigmas: bool,
    use_exponential_sigmas: bool,
    use_beta_sigmas: bool,
    stochastic_sampling: bool,
}

impl Default for FlowMatchEulerSchedulerConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            shift: 1.0,
            use_dynamic_shifting: false,
            base_shift: Some(0.5),
            max_shift: Some(1.15),
            base_image_seq_len: Some(256),
            time_shift_type: TimeShiftType::Exponential,
            shift_terminal: None,
            invert_sigmas: false,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            use_beta_sigmas: false,
            stochastic_sampling: false,
        }
    }
}

impl FlowMatchEulerSchedulerConfig {
    /// Reads `scheduler_config.json`.
    ///
    /// # Errors
    /// A missing or broken file, another scheduler, or a variant of the noise levels that CogView4 does not use.
    pub fn load(path: &Path) -> Result<Self> {
        let config: Self = config_file::read(path, "_class_name", "FlowMatchEulerDiscreteScheduler")?;
        let unsupported = [
            ("invert_sigmas", config.invert_sigmas),
            ("use_karras_sigmas", config.use_karras_sigmas),
            ("use_exponential_sigmas", config.use_exponential_sigmas),
            ("use_beta_sigmas", config.use_beta_sigmas),
            ("stochastic_sampling", config.stochastic_sampling),
        ];
        for (field, set) in unsupported {
            config_file::check(!set, path, || format!("`{field}` is not supported"))?;
        }
        let sizes = [
            ("num_train_timesteps", config.num_train_timesteps),
            ("base_image_seq_len", config.base_image_seq_len.unwrap_or(1)),
        ];
        config_file::check_sizes(path, sizes)?;
        config_file::check_number(path, "shift", config.shift.into(), 1e-6..=1e6)?;
        config_file::check_number(path, "base_shift", config.base_shift.unwrap_or(0.0), -100.0..=100.0)?;
        config_file::check_number(path, "max_shift", config.max_shift.unwrap_or(0.0), -100.0..=100.0)?;
        let terminal = config.shift_terminal.unwrap_or(0.0);
        config_file::check(terminal.is_finite() && terminal < 1.0, path, || {
            format!("`shift_terminal` is {terminal}, must be below 1")
        })?;
        Ok(config)
    }

    /// Strength of the dynamic shift for a picture of `image_seq_len` patches.
    fn mu(&self, image_seq_len: usize) -> f64 {
        let base_len = self.base_image_seq_len.unwrap_or(256) as f64;
        (image_seq_len as f64 / base_len).sqrt() * self.max_shift.unwrap_or(0.75) + self.base_shift.unwrap_or(0.25)
    }

    /// The noise level that the unshifted `sigma` in (0, 1] stands for, in a picture of `image_seq_len` patches.
    ///
    /// Training and sampling share it.
    pub fn shift_sigma(&self, sigma: f32, image_seq_len: usize) -> f32 {
        if !self.use_dynamic_shifting {
            return self.shift * sigma / (1.0 + (self.shift - 1.0) * sigma);
        }
        let mu = self.mu(image_seq_len);
        let strength = match self.time_shift_type {
            TimeShiftType::Linear => mu as f32,
            TimeShiftType::Exponential => mu.exp() as f32,
        };
        strength / (strength + (1.0 / sigma - 1.0))
    }
}

/// The series of one run: `timesteps` for the model, `sigmas` for the noise, one longer and ending at 0.
///
/// ```
/// use cogview4_model::{FlowMatchEulerScheduler, FlowMatchEulerSchedulerConfig, scheduler::StepSchedule};
///
/// let config = FlowMatchEulerSchedulerConfig::default();
/// let series = FlowMatchEulerScheduler::new(&config, &StepSchedule::Steps(4), 1024)?;
/// assert_eq!(series.timesteps, [1000.0, 667.0, 334.0, 1.0]);
/// assert_eq!((series.sigmas.len(), series.sigmas[4]), (5, 0.0));
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FlowMatchEulerScheduler {
    /// Unshifted timesteps in [0, 1000], one per step.
    pub timesteps: Vec<f32>,
    /// Shifted noise levels in [0, 1]; step `i` goes from `sigmas[i]` to `sigmas[i + 1]`.
    pub sigmas: Vec<f32>,
}

/// What decides how many steps are made, and where.
#[derive(Debug, Clone, PartialEq)]
pub enum StepSchedule {
    /// This many steps, evenly spaced from 1000 to 1, truncated to integers.
    Steps(usize),
    /// Custom timesteps, descending; truncated to integers.
    Timesteps(Vec<f32>),
    /// Custom unshifted noise levels in (0, 1], descending.
    Sigmas(Vec<f32>),
    /// Both, of equal length.
    TimestepsAndSigmas(Vec<f32>, Vec<f32>),
}

impl FlowMatchEulerScheduler {
    /// Computes both series for a picture of `image_seq_len` patches.
    ///
    /// # Errors
    /// [`ModelError::BadInput`] for no steps, series of different length, or values out of range.
    pub fn new(config: &FlowMatchEulerSchedulerConfig, schedule: &StepSchedule, image_seq_len: usize) -> Result<Self> {
        let train_steps = config.num_train_timesteps as f32;
        let unshift = |timesteps: &[f32]| timesteps.iter().map(|t| t / train_steps).collect::<Vec<_>>();
        let (timesteps, sigmas) = match schedule {
            StepSchedule::Steps(count) => {
                let timesteps = evenly_spaced(config.num_train_timesteps, *count);
                let sigmas = unshift(&timesteps);
                (timesteps, sigmas)
            }
            StepSchedule::Timesteps(timesteps) => {
                let timesteps: Vec<f32> = timesteps.iter().map(|t| t.trunc()).collect();
                let sigmas = unshift(&timesteps);
                (timesteps, sigmas)
            }
            StepSchedule::Sigmas(sigmas) => (sigmas.iter().map(|sigma| sigma * train_steps).collect(), sigmas.clone()),
            StepSchedule::TimestepsAndSigmas(timesteps, sigmas) => {
                (timesteps.iter().map(|t| t.trunc()).collect(), sigmas.clone())
            }
        };
        check_series(&timesteps, &sigmas, train_steps)?;
        let mut sigmas: Vec<f32> = sigmas.iter().map(|&sigma| config.shift_sigma(sigma, image_seq_len)).collect();
        if let Some(terminal) = config.shift_terminal.filter(|terminal| *terminal != 0.0) {
            stretch_to_terminal(&mut sigmas, terminal)?;
        }
        // A shift by far too much for the size of the picture leaves no noise level, or more than all noise.
        if let Some(sigma) = sigmas.iter().find(|sigma| !(**sigma > 0.0 && **sigma <= MAX_SHIFTED)) {
            let reason = format!("the shift makes {sigma} of a noise level, which is not in (0, 1]");
            return Err(ModelError::bad_input("scheduler", reason));
        }
        sigmas.push(0.0);
        Ok(Self { timesteps, sigmas })
    }

    /// One Euler step: `sample + (sigma_next - sigma) * model_output`.
    ///
    /// # Shapes
    /// `model_output` and `sample`: `[B, C, H, W]`, any dtype; the result is f32.
    ///
    /// # Panics
    /// When `index` is not below the number of steps.
    pub fn step<const D: usize>(&self, index: usize, model_output: Tensor<D>, sample: Tensor<D>) -> Tensor<D> {
        let dt = self.sigmas[index + 1] - self.sigmas[index];
        sample.cast(DType::F32) + model_output.cast(DType::F32).mul_scalar(dt)
    }
}

/// `numpy.linspace(from, 1, count)` truncated to integers: its rounding in f64 decides the integers, so the
/// formula is numpy's.
fn evenly_spaced(from: usize, count: usize) -> Vec<f32> {
    let start = from as f64;
    let step = (1.0 - start) / (count.max(2) - 1) as f64;
    let mut timesteps: Vec<f32> = (0..count).map(|k| (k as f64 * step + start).trunc() as f32).collect();
    if count > 1 {
        timesteps[count - 1] = 1.0;
    }
    timesteps
}

fn check_series(timesteps: &[f32], sigmas: &[f32], train_steps: f32) -> Result<()> {
    if timesteps.is_empty() {
        return Err(ModelError::bad_input("num_inference_steps", "must be at least 1"));
    }
    if timesteps.len() != sigmas.len() {
        let reason = format!("{} timesteps, but {} sigmas", timesteps.len(), sigmas.len());
        return Err(ModelError::bad_input("timesteps and sigmas", reason));
    }
    if let Some(sigma) = sigmas.iter().find(|sigma| !(**sigma > 0.0 && **sigma <= 1.0)) {
        return Err(ModelError::bad_input("sigmas", format!("{sigma} is not in (0, 1]")));
    }
    if let Some(t) = timesteps.iter().find(|t| !(**t >= 0.0 && **t <= train_steps)) {
        return Err(ModelError::bad_input("timesteps", format!("{t} is not in [0, {train_steps}]")));
    }
    Ok(())
}

/// Stretches the levels so that the last one is `terminal`.
fn stretch_to_terminal(sigmas: &mut [f32], terminal: f32) -> Result<()> {
    let last = sigmas[sigmas.len() - 1];
    if last >= 1.0 {
        return Err(ModelError::bad_input("shift_terminal", "cannot be reached by steps that all begin at full noise"));
    }
    let scale = (1.0 - last) / (1.0 - terminal);
    sigmas.iter_mut().for_each(|sigma| *sigma = 1.0 - (1.0 - *sigma) / scale);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(dynamic: bool, linear: bool, shift: f32) -> FlowMatchEulerSchedulerConfig {
        FlowMatchEulerSchedulerConfig {
            use_dynamic_shifting: dynamic,
            time_shift_type: if linear { TimeShiftType::Linear } else { TimeShiftType::Exponential },
            shift,
            ..FlowMatchEulerSchedulerConfig::default()
        }
    }

    proptest! {
        #[test]
        fn both_series_fall(
            steps in 1_usize..600, seq_len in 1_usize..20_000, dynamic: bool, linear: bool, shift in 0.1_f32..9.0,
        ) {
            let config = config(dynamic, linear, shift);
            let series = FlowMatchEulerScheduler::new(&config, &StepSchedule::Steps(steps), seq_len).unwrap();
            prop_assert_eq!(series.timesteps.len(), steps);
            prop_assert_eq!(series.sigmas.len(), steps + 1);
            prop_assert_eq!((series.timesteps[0], series.sigmas[steps]), (1000.0, 0.0));
            prop_assert!((series.sigmas[0] - 1.0).abs() < 1e-5);
            prop_assert!(series.timesteps.is_sorted_by(|a, b| a > b));
            // Strong shifts round the first levels to 1.
            prop_assert!(series.sigmas.is_sorted_by(|a, b| a >= b));
        }
    }
}

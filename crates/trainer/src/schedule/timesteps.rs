//! Which timesteps are drawn, and how much a sample's loss counts. Source: `training_utils.py` of diffusers 0.42.1
//! (Esser et al. 2024, arXiv:2403.03206).

use std::f64::consts::PI;

use cogview4_data::Draws;
use serde::{Deserialize, Serialize};

use crate::names::names;

/// How timesteps are drawn and losses weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightingScheme {
    /// Uniform timesteps, weight `1 / sigma^2`.
    SigmaSqrt,
    /// Timesteps by a normal distribution through a sigmoid.
    LogitNormal,
    /// Timesteps with a heavy middle, or heavy ends.
    Mode,
    /// Uniform timesteps, weight `2 / (pi (1 - 2 sigma + 2 sigma^2))`.
    Cosmap,
    /// Uniform timesteps, weight 1.
    None,
}

names!(WeightingScheme {
    SigmaSqrt = "sigma_sqrt",
    LogitNormal = "logit_normal",
    Mode = "mode",
    Cosmap = "cosmap",
    None = "none",
});

/// How timesteps are drawn, with the numbers of all schemes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimestepDensity {
    /// The scheme.
    pub scheme: WeightingScheme,
    /// Mean of `logit_normal`.
    pub logit_mean: f64,
    /// Standard deviation of `logit_normal`.
    pub logit_std: f64,
    /// Scale of `mode`.
    pub mode_scale: f64,
}

impl Default for TimestepDensity {
    /// The reference's.
    fn default() -> Self {
        Self { scheme: WeightingScheme::None, logit_mean: 0.0, logit_std: 1.0, mode_scale: 1.29 }
    }
}

impl TimestepDensity {
    /// Draws the index of a timestep in `0..train_steps`; index 0 is the noisiest.
    pub fn draw(&self, draws: &mut Draws, train_steps: usize) -> usize {
        let u = match self.scheme {
            WeightingScheme::LogitNormal => {
                let normal = f64::from(draws.normals(1)[0]) * self.logit_std + self.logit_mean;
                1.0 / (1.0 + (-normal).exp())
            }
            WeightingScheme::Mode => {
                let u = draws.uniform();
                1.0 - u - self.mode_scale * ((PI * u / 2.0).cos().powi(2) - 1.0 + u)
            }
            WeightingScheme::SigmaSqrt | WeightingScheme::Cosmap | WeightingScheme::None => draws.uniform(),
        };
        // `mode` reaches 1 where u is 0.
        ((u * train_steps as f64) as usize).min(train_steps - 1)
    }

    /// How much a sample with this noise level counts.
    pub fn loss_weight(&self, sigma: f32) -> f32 {
        match self.scheme {
            WeightingScheme::SigmaSqrt => sigma.powi(-2),
            WeightingScheme::Cosmap => 2.0 / (std::f32::consts::PI * (1.0 - 2.0 * sigma + 2.0 * sigma * sigma)),
            WeightingScheme::LogitNormal | WeightingScheme::Mode | WeightingScheme::None => 1.0,
        }
    }
}

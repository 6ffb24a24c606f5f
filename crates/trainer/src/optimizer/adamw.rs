//! AdamW as `torch.optim.AdamW` computes it (Loshchilov and Hutter, arXiv:1711.05101), in one pass over memory, and
//! clipping by the global norm.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Values that are worked on together.
const CHUNK: usize = 1 << 15;

/// Numbers of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Part of a parameter that decays, times the learning rate.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// The optimiser: both moments of every trained parameter, by key.
///
/// ```
/// use cogview4_trainer::{AdamW, AdamWConfig, clip_grad_norm};
///
/// let config = AdamWConfig { beta1: 0.9, beta2: 0.999, weight_decay: 0.0, epsilon: 1e-8 };
/// let (mut optimizer, mut weight) = (AdamW::new(config), vec![1.0, 1.0]);
/// let mut gradients = vec![("weight".to_string(), vec![3.0, -4.0])];
/// assert_eq!(clip_grad_norm(&mut gradients, 1.0), 5.0);
/// optimizer.begin_step();
/// optimizer.update("weight", &mut weight, &gradients[0].1, 0.1);
/// assert!((weight[0] - 0.9).abs() < 1e-5 && (weight[1] - 1.1).abs() < 1e-5);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Its numbers.
    pub config: AdamWConfig,
    /// Steps made.
    pub steps: usize,
    pub(crate) moments: BTreeMap<String, Moments>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) exp_avg: Vec<f32>,
    pub(crate) exp_avg_sq: Vec<f32>,
}

impl AdamW {
    /// An optimiser that has made no step.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, steps: 0, moments: BTreeMap::new() }
    }

    /// Counts a step; [`update`](Self::update) is then called for each parameter.
    pub fn begin_step(&mut self) {
        self.steps += 1;
    }

    /// Updates one parameter in place.
    ///
    /// # Panics
    /// When parameter and gradient differ in length, or no step was begun.
    pub fn update(&mut self, key: &str, parameter: &mut [f32], gradient: &[f32], learning_rate: f64) {
        assert_eq!(parameter.len(), gradient.len(), "{key}");
        assert!(self.steps > 0, "a step was begun");
        let AdamWConfig { beta1, beta2, weight_decay, epsilon } = self.config;
        let zeros = || Moments { exp_avg: vec![0.0; gradient.len()], exp_avg_sq: vec![0.0; gradient.len()] };
        let moments = self.moments.entry(key.into()).or_insert_with(zeros);

        // PyTorch computes these in f64 and rounds them where they meet a tensor.
        let correction1 = 1.0 - beta1.powi(self.steps as i32);
        let correction2_sqrt = (1.0 - beta2.powi(self.steps as i32)).sqrt() as f32;
        let step_size = (learning_rate / correction1) as f32;
        let keep = (1.0 - learning_rate * weight_decay) as f32;
        let (weight1, beta2_f32, weight2) = ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
        let epsilon = epsilon as f32;
        let chunks = parameter.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let moments = moments.exp_avg.par_chunks_mut(CHUNK).zip(moments.exp_avg_sq.par_chunks_mut(CHUNK));
        chunks.zip(moments).for_each(|((parameter, gradient), (exp_avg, exp_avg_sq))| {
            for i in 0..parameter.len() {
                let gradient = gradient[i];
                exp_avg[i] += weight1 * (gradient - exp_avg[i]);
                exp_avg_sq[i] = exp_avg_sq[i] * beta2_f32 + weight2 * (gradient * gradient);
                let denominator = exp_avg_sq[i].sqrt() / correction2_sqrt + epsilon;
                parameter[i] = parameter[i] * keep - step_size * (exp_avg[i] / denominator);
            }
        });
    }
}

/// Scales all gradients so that their joint norm is at most `max_norm`, and gives the norm before.
///
/// Summed in chunks of fixed size that are added in order, so that it repeats bit for bit.
pub fn clip_grad_norm(gradients: &mut [(String, Vec<f32>)], max_norm: f64) -> f64 {
    let square = |values: &[f32]| values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
    let sums =
        |values: &Vec<f32>| -> f64 { values.par_chunks(CHUNK).map(square).collect::<Vec<_>>().into_iter().sum() };
    let norm = gradients.iter().map(|(_, values)| sums(values)).sum::<f64>().sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        let factor = factor as f32;
        for (_, values) in gradients {
            values.par_iter_mut().for_each(|value| *value *= factor);
        }
    }
    norm
}

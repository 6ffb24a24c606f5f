//! AdamW as `torch.optim.AdamW` computes it (Loshchilov and Hutter, arXiv:1711.05101), in one pass over memory.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::Module;
use cogview4_model::weights::{TensorSource, update_parameters};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    gradients::{CHUNK, Gradients},
    moments::{MomentStore, MomentsInMemory},
};

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

impl Default for AdamWConfig {
    /// The reference's.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, weight_decay: 1e-2, epsilon: 1e-8 }
    }
}

/// The optimiser; both moments of every trained parameter are in its store. It does not count: the run says which step
/// it makes.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use cogview4_model::nn::Linear;
/// use cogview4_trainer::{AdamW, AdamWConfig, Gradients};
///
/// let mut optimizer = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
/// let layer = Linear::init(2, 1, &Device::flex());
/// let gradients: Gradients = [("bias".to_string(), vec![3.0])].into_iter().collect();
/// let (layer, is_finite) = optimizer.step(1, 0.1, layer, gradients);
/// assert!(is_finite);
/// ```
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    moments: Box<dyn MomentStore>,
}

impl AdamW {
    /// An optimiser that has made no step, with its moments in memory.
    pub fn new(config: AdamWConfig) -> Self {
        Self::with_moments(config, MomentsInMemory::default())
    }

    /// An optimiser whose moments are in this store.
    pub fn with_moments(config: AdamWConfig, moments: impl MomentStore + 'static) -> Self {
        Self { config, moments: Box::new(moments) }
    }

    /// Makes step `number`, the first is 1: updates each f32 parameter that has a gradient, and says whether all of
    /// them, and their moments, are finite numbers.
    ///
    /// Parameters change in place while nobody else holds them, so hand over the only copy of the model.
    ///
    /// # Panics
    /// When `number` is 0, or a parameter and its gradient differ in length.
    pub fn step<M: Module>(
        &mut self,
        number: usize,
        learning_rate: f64,
        model: M,
        mut gradients: Gradients,
    ) -> (M, bool) {
        let scalars = Scalars::new(&self.config, number, learning_rate);
        let is_finite = AtomicBool::new(true);
        let model = update_parameters(model, |key, parameter| {
            let Some(gradient) = gradients.remove(key) else { return };
            assert_eq!(parameter.len(), gradient.len(), "{key}");
            self.moments.with(key, gradient.len(), &mut |exp_avg, exp_avg_sq| {
                if !scalars.update(parameter, &gradient, exp_avg, exp_avg_sq) {
                    is_finite.store(false, Ordering::Relaxed);
                }
            });
        });
        (model, is_finite.into_inner())
    }

    /// Puts the moments of a parameter back, as a checkpoint has them.
    pub(crate) fn restore(&mut self, key: &str, [exp_avg, exp_avg_sq]: [&[f32]; 2]) {
        self.moments.with(key, exp_avg.len(), &mut |first, second| {
            first.copy_from_slice(exp_avg);
            second.copy_from_slice(exp_avg_sq);
        });
    }

    /// The moments, for a checkpoint.
    pub(crate) fn tensors(&self) -> Vec<(String, TensorSource<'_>)> {
        self.moments.tensors()
    }
}

/// The numbers of one step. PyTorch computes them in f64 and rounds them where they meet a tensor.
struct Scalars {
    keep: f32,
    step_size: f32,
    weight1: f32,
    beta2: f32,
    weight2: f32,
    correction2_sqrt: f32,
    epsilon: f32,
}

impl Scalars {
    fn new(config: &AdamWConfig, number: usize, learning_rate: f64) -> Self {
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

    /// Updates one parameter; says whether it and its second moment stayed finite.
    fn update(&self, parameter: &mut [f32], gradient: &[f32], exp_avg: &mut [f32], exp_avg_sq: &mut [f32]) -> bool {
        /// The bits of an exponent that only infinities and what is not a number have all set.
        const EXPONENT: u32 = 0x7f80_0000;
        let chunks = parameter.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let moments = exp_avg.par_chunks_mut(CHUNK).zip(exp_avg_sq.par_chunks_mut(CHUNK));
        let broken = chunks.zip(moments).map(|((parameter, gradient), (exp_avg, exp_avg_sq))| {
            let mut is_broken = 0;
            for i in 0..parameter.len() {
                let gradient = gradient[i];
                exp_avg[i] += self.weight1 * (gradient - exp_avg[i]);
                exp_avg_sq[i] = exp_avg_sq[i] * self.beta2 + self.weight2 * (gradient * gradient);
                let denominator = exp_avg_sq[i].sqrt() / self.correction2_sqrt + self.epsilon;
                parameter[i] = parameter[i] * self.keep - self.step_size * (exp_avg[i] / denominator);
                let bits = [parameter[i], exp_avg_sq[i]].map(|value| value.to_bits() & EXPONENT == EXPONENT);
                is_broken |= u32::from(bits[0]) | u32::from(bits[1]);
            }
            is_broken
        });
        // Every chunk is updated, whatever the others gave.
        broken.reduce(|| 0, |a, b| a | b) == 0
    }
}

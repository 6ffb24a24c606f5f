//! AdamW as `torch.optim.AdamW` computes it (Loshchilov and Hutter, arXiv:1711.05101), in one pass over memory.

use std::sync::Arc;

use burn::{
    module::Module,
    tensor::{DType, TensorData},
};
use cogview4_model::weights::{WeightsInPlace, map_parameters};
use pulp::Arch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Partition,
    buffers::with_buffer,
    change::change,
    gradients::{CHUNK, Gradients, ScaledGradient},
    state::{Chunks, State, StateOptions, Values},
    stored::extent,
};
use crate::error::Result;

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

/// The optimiser, with what it keeps of every parameter. It does not count: the run says which step it makes.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use cogview4_model::nn::Linear;
/// use cogview4_trainer::{AdamW, AdamWConfig, Gradients};
///
/// let mut optimizer = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
/// let layer = Linear::init(2, 1, &Device::flex());
/// let gradients: Gradients = [("bias".to_string(), vec![3.0])].into_iter().collect();
/// let (layer, is_finite) = optimizer.step(1, 0.1, layer, gradients)?;
/// assert!(is_finite);
/// # Ok::<(), cogview4_trainer::TrainError>(())
/// ```
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    pub(super) state: State,
    /// The files that parameters lie in; without them each has memory of its own.
    weights: Option<WeightsInPlace>,
    /// Whose values are whose, where several processes share the work; this one has the state of its own.
    pub(super) partition: Option<Arc<Partition>>,
}

impl AdamW {
    /// An optimiser that has made no step, with its state in memory and in f32.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, state: State::default(), weights: None, partition: None }
    }

    /// An optimiser that has made no step, with its state kept in this way.
    ///
    /// # Errors
    /// A folder that no file can be made in.
    pub fn with_options(config: AdamWConfig, options: StateOptions) -> Result<Self> {
        Ok(Self { config, state: State::new(options)?, weights: None, partition: None })
    }

    /// Has the parameters lie in these files, once they are brought to the type that these have.
    #[must_use]
    pub(crate) fn with_weights(self, weights: WeightsInPlace) -> Self {
        Self { weights: Some(weights), ..self }
    }

    /// Keeps the state of what this process owns, and of nothing else.
    #[must_use]
    pub(crate) fn with_partition(self, partition: Arc<Partition>) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// Whether the parameters lie in files that are the result in this type.
    pub(crate) fn lies_in_files(&self, dtype: DType) -> bool {
        self.weights.as_ref().is_some_and(|weights| weights.dtype() == dtype)
    }

    /// Gives the files that the parameters lie in their names, if there are any. No step can follow.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn commit_weights(&mut self) -> Result<()> {
        self.weights.as_mut().map_or(Ok(()), |weights| Ok(weights.commit()?))
    }

    /// Brings an f32 model to the type that it is computed in. In a narrower one its f32 values stay here, as masters that
    /// the steps change and the model follows; with stochastic rounding they go.
    ///
    /// # Errors
    /// No memory or space for the masters.
    pub fn narrow<M: Module>(&mut self, model: M, dtype: DType) -> Result<M> {
        self.narrow_part("", model, dtype)
    }

    /// As [`narrow`](Self::narrow), of a part of a model whose keys begin with `prefix`.
    pub(crate) fn narrow_part<M: Module>(&mut self, prefix: &str, part: M, dtype: DType) -> Result<M> {
        let mut done = Ok(());
        let part = map_parameters(part, |key, data| {
            let key = format!("{prefix}{key}");
            if dtype != DType::F32 && done.is_ok() {
                let values = data.as_slice().expect("invariant: an f32 model");
                done = self.state.keep_values(&key, &values[self.extent(&key, values.len()).values]);
            }
            let data = data.convert_dtype(dtype);
            match &mut self.weights {
                None => data,
                Some(weights) => {
                    weights.bytes_mut(&key).copy_from_slice(data.as_bytes());
                    weights.lend(&key)
                }
            }
        });
        done.map(|()| part)
    }

    /// The model in f32: parameters with a master as that has them.
    pub fn widen<M: Module>(&self, model: M) -> M {
        map_parameters(model, |key, data| match self.state.master_of(key) {
            Some(master) => TensorData::new(master.floats().to_vec(), data.shape().clone()),
            None => data.convert_dtype(DType::F32),
        })
    }

    /// Makes step `number`, the first is 1: updates each parameter that has a gradient, and says whether all of them,
    /// and their moments, are finite numbers.
    ///
    /// Parameters change in place while nobody else holds them, so hand over the only copy of the model.
    ///
    /// # Errors
    /// No memory or space for moments that are not there yet.
    ///
    /// # Panics
    /// When `number` is 0, or a parameter and its gradient differ in length.
    pub fn step<M: Module>(
        &mut self,
        number: usize,
        learning_rate: f64,
        model: M,
        gradients: Gradients,
    ) -> Result<(M, bool)> {
        self.step_part(number, learning_rate, "", model, gradients)
    }

    /// As [`step`](Self::step), of a part of a model whose keys begin with `prefix`.
    pub(crate) fn step_part<M: Module>(
        &mut self,
        number: usize,
        learning_rate: f64,
        prefix: &str,
        part: M,
        gradients: Gradients,
    ) -> Result<(M, bool)> {
        self.step_own((number, learning_rate), prefix, part, gradients, |_, _| ())
    }

    /// As [`step_part`](Self::step_part), of the values that this process owns: gradients are of those alone. `updated` is
    /// given the key and bytes of the values that have changed.
    pub(crate) fn step_own<M: Module>(
        &mut self,
        (number, learning_rate): (usize, f64),
        prefix: &str,
        part: M,
        mut gradients: Gradients,
        mut updated: impl FnMut(&str, &[u8]),
    ) -> Result<(M, bool)> {
        let Self { config, state, weights, partition } = self;
        let scalars = Scalars::new(config, number, learning_rate);
        let mut is_finite = Ok(true);
        let mut update = |key: &str, gradient: ScaledGradient, mut parameter: Values<'_>| {
            let extent = extent(partition.as_deref(), key, parameter.len());
            assert_eq!(extent.values.len(), gradient.len(), "{key}");
            let own = parameter.part(extent.values.clone());
            match (state.lend((key, &extent), own, CHUNK, number), &mut is_finite) {
                (_, Err(_)) => {}
                (Ok(chunks), Ok(all)) => *all &= scalars.update_all(chunks, &gradient),
                (Err(error), _) => is_finite = Err(error),
            }
            updated(key, parameter.part(extent.values).as_bytes());
        };
        let part = change(weights.as_mut(), prefix, part, |key, parameter| {
            if let Some(gradient) = gradients.remove_scaled(key) {
                update(key, gradient, parameter);
            }
        });
        is_finite.map(|is_finite| (part, is_finite))
    }

    /// Writes values that others have updated to a part of a model; `values` is given the key and the bytes to change.
    pub(crate) fn write_part<M: Module>(
        &mut self,
        prefix: &str,
        part: M,
        mut values: impl FnMut(&str, &mut [u8]),
    ) -> M {
        change(self.weights.as_mut(), prefix, part, |key, mut parameter| values(key, parameter.as_bytes_mut()))
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

    /// Updates a parameter; says whether it and its second moment stayed finite.
    fn update_all(&self, [parameters, firsts, seconds]: Chunks<'_>, gradient: &ScaledGradient) -> bool {
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

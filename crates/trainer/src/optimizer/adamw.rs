//! AdamW as `torch.optim.AdamW` computes it (Loshchilov and Hutter, arXiv:1711.05101), in one pass over memory.

use std::sync::Arc;

use burn::{module::Module, tensor::DType};
use cogview4_model::weights::{WeightsInPlace, map_parameters};
use serde::{Deserialize, Serialize};

use super::{
    AllFinite, Partition,
    change::change,
    gradients::{CHUNK, Gradients},
    scalars::Scalars,
    state::{StateOptions, Store, Values},
    stored::extent,
    sum::ScaledGradient,
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
    pub(super) store: Store,
    /// The files that parameters lie in; without them each has memory of its own.
    weights: Option<WeightsInPlace>,
    /// Whose values are whose, where several processes share the work; this one has the state of its own.
    pub(super) partition: Option<Arc<Partition>>,
}

impl AdamW {
    /// An optimiser that has made no step, with its state in memory and in f32.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, store: Store::default(), weights: None, partition: None }
    }

    /// An optimiser that has made no step, with its state kept in this way.
    ///
    /// # Errors
    /// A folder that no file can be made in.
    pub fn with_options(config: AdamWConfig, options: StateOptions) -> Result<Self> {
        Ok(Self { config, store: Store::new(options)?, weights: None, partition: None })
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

    /// Whether steps are made on the device that computes gradients, which then stay there.
    pub(crate) fn is_on_device(&self) -> bool {
        matches!(self.store, Store::Device(_))
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
        let state = match &mut self.store {
            Store::Host(state) => state,
            Store::Device(state) => return Ok(state.narrow(prefix, part, dtype)),
        };
        let (mut done, partition) = (Ok(()), self.partition.as_deref());
        let part = map_parameters(part, |key, data| {
            let key = format!("{prefix}{key}");
            if dtype != DType::F32 && done.is_ok() {
                let values = data.as_slice().expect("invariant: an f32 model");
                done = state.keep_values(&key, &values[extent(partition, &key, values.len()).values]);
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
        map_parameters(model, |key, data| match self.store.master(key, DType::F32, data.shape().as_slice()) {
            Some(master) => master.read().expect("invariant: it is in memory"),
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
        let (model, finite) = self.step_part(number, learning_rate, "", model, gradients)?;
        Ok((model, finite.is_finite()))
    }

    /// As [`step`](Self::step), of a part of a model whose keys begin with `prefix`.
    pub(crate) fn step_part<M: Module>(
        &mut self,
        number: usize,
        learning_rate: f64,
        prefix: &str,
        part: M,
        gradients: Gradients,
    ) -> Result<(M, AllFinite)> {
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
    ) -> Result<(M, AllFinite)> {
        let Self { config, store, weights, partition } = self;
        let scalars = Scalars::new(config, number, learning_rate);
        let state = match store {
            Store::Host(state) => state,
            Store::Device(state) => return Ok(state.step(&scalars, prefix, part, &mut gradients)),
        };
        let mut is_finite = Ok(true);
        let mut update = |key: &str, gradient: ScaledGradient, mut parameter: Values<'_>| {
            let gradient = gradient.into_host();
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
        is_finite.map(|is_finite| (part, is_finite.into()))
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

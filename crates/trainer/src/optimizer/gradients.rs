//! Gradients by key: the one place that micro-batches, and blocks, hand theirs to, and clipping by the global norm.

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{Gradients as BackwardPass, TensorData},
};
use cogview4_model::weights::{for_each_gradient, for_each_gradient_tensor};

use super::{
    GradientMemory,
    sum::{Norms, ScaledGradient, Sum},
};

/// Values that are worked on together.
pub(crate) const CHUNK: usize = 1 << 15;

/// Sums of gradients. What comes once is kept in its own type until it is asked for; sums are in f32.
///
/// ```
/// use cogview4_trainer::Gradients;
///
/// let mut gradients: Gradients = [("weight".to_string(), vec![3.0, -4.0])].into_iter().collect();
/// assert_eq!(gradients.clip_norm(1.0), 5.0);
/// ```
#[derive(Debug, Clone)]
pub struct Gradients {
    sums: BTreeMap<String, Sum>,
    /// What they are multiplied with when they are taken out.
    factor: f32,
    /// Where they are kept; without it each has memory of its own.
    memory: Option<GradientMemory>,
    /// Whether they stay on the device that computes them.
    on_device: bool,
}

impl PartialEq for Gradients {
    fn eq(&self, other: &Self) -> bool {
        (&self.sums, self.factor) == (&other.sums, other.factor)
    }
}

impl Default for Gradients {
    fn default() -> Self {
        Self { sums: BTreeMap::new(), factor: 1.0, memory: None, on_device: false }
    }
}

impl Gradients {
    /// None yet, to be kept there.
    pub(crate) fn kept_in(memory: Option<&GradientMemory>) -> Self {
        Self { memory: memory.cloned(), ..Self::default() }
    }

    /// None yet, to stay on the device that computes them, for an optimiser that works there:
    /// [`StatePlace::Device`](crate::StatePlace::Device).
    pub fn on_device() -> Self {
        Self { on_device: true, ..Self::default() }
    }

    /// Takes all gradients of a model's parameters that a backward pass gave; they count `weight`.
    pub fn take(&mut self, model: &impl Module, pass: BackwardPass, weight: f32) {
        self.take_part("", model, pass, weight);
    }

    /// As [`take`](Self::take), of a part of a model whose keys begin with `prefix`.
    pub(crate) fn take_part(&mut self, prefix: &str, part: &impl Module, pass: BackwardPass, weight: f32) {
        match self.on_device {
            true => for_each_gradient_tensor(part, pass, |key, tensor| {
                self.add_sum(&format!("{prefix}{key}"), Sum::Device(tensor), weight);
            }),
            false => for_each_gradient(part, pass, |key, data| self.add(&format!("{prefix}{key}"), data, weight)),
        }
    }

    /// As [`take_part`](Self::take_part), of passes over parts of a micro-batch: their sum, in the type that each has, as if
    /// there had been one pass.
    pub(crate) fn take_parts<M: Module>(&mut self, prefix: &str, mut passes: Vec<(M, BackwardPass)>, weight: f32) {
        if passes.len() == 1 {
            let (part, pass) = passes.remove(0);
            return self.take_part(prefix, &part, pass, weight);
        }
        let mut joint: BTreeMap<String, Vec<Sum>> = BTreeMap::new();
        for (part, pass) in passes {
            let mut own = Self { on_device: self.on_device, ..Self::default() };
            own.take_part(prefix, &part, pass, 1.0);
            own.sums.into_iter().for_each(|(key, gradient)| joint.entry(key).or_default().push(gradient));
        }
        for (key, gradients) in joint {
            let dtype = gradients[0].dtype();
            let sum = gradients.into_iter().reduce(|sum, gradient| gradient.weighted(1.0, Some(sum)));
            sum.into_iter().for_each(|sum| self.add_sum(&key, sum.cast(dtype), weight));
        }
    }

    /// Adds a gradient, which counts `weight`.
    pub(crate) fn add(&mut self, key: &str, data: TensorData, weight: f32) {
        self.add_sum(key, Sum::Host(data), weight);
    }

    fn add_sum(&mut self, key: &str, gradient: Sum, weight: f32) {
        let sum = match self.sums.remove(key) {
            None if weight == 1.0 => gradient,
            before => gradient.weighted(weight, before),
        };
        let sum = match (sum, &self.memory) {
            (Sum::Host(data), Some(memory)) => Sum::Host(memory.keep(key, data)),
            (sum, _) => sum,
        };
        self.sums.insert(key.into(), sum);
    }

    /// Scales all gradients so that their joint norm is at most `max_norm`, and gives the norm before; not a number or
    /// infinite where a gradient is.
    ///
    /// Summed in chunks of fixed size that are added in order, so that it repeats bit for bit.
    pub fn clip_norm(&mut self, max_norm: f64) -> f64 {
        let norm = self.norms().joint() * f64::from(self.factor);
        self.scale_to(max_norm, norm);
        norm
    }

    /// The norms of all gradients, unscaled.
    pub(crate) fn norms(&self) -> Norms {
        Norms(self.sums.iter().map(|(key, sum)| (key.clone(), sum.square())).collect())
    }

    /// Scales all gradients as those of a joint norm have to be for it to be at most `max_norm`. Nothing is multiplied yet:
    /// who takes a gradient out goes over all of it anyway.
    pub(crate) fn scale_to(&mut self, max_norm: f64, norm: f64) {
        self.factor *= (max_norm / (norm + 1e-6)).min(1.0) as f32;
    }

    /// Takes those out whose keys begin with `prefix`.
    pub(crate) fn split_off(&mut self, prefix: &str) -> Self {
        let (own, others) = std::mem::take(&mut self.sums).into_iter().partition(|(key, _)| key.starts_with(prefix));
        self.sums = others;
        Self { sums: own, factor: self.factor, ..Self::default() }
    }

    /// Takes one out, as f32.
    pub fn remove(&mut self, key: &str) -> Option<Vec<f32>> {
        let gradient = self.remove_scaled(key)?.into_host();
        let chunks = (0..gradient.len().div_ceil(CHUNK)).map(|index| gradient.chunk(index, &mut Vec::new()).to_vec());
        Some(chunks.flatten().collect())
    }

    /// Takes one out as it is, unscaled.
    pub(crate) fn remove_data(&mut self, key: &str) -> Option<TensorData> {
        self.sums.remove(key).map(Sum::into_data)
    }

    /// Takes one out, in the type that it has.
    pub(super) fn remove_scaled(&mut self, key: &str) -> Option<ScaledGradient> {
        Some(ScaledGradient { sum: self.sums.remove(key)?, factor: self.factor })
    }

    /// Keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.sums.keys().map(String::as_str)
    }
}

impl FromIterator<(String, Vec<f32>)> for Gradients {
    fn from_iter<I: IntoIterator<Item = (String, Vec<f32>)>>(gradients: I) -> Self {
        let data = |values: Vec<f32>| {
            let length = values.len();
            Sum::Host(TensorData::new(values, [length]))
        };
        let sums = gradients.into_iter().map(|(key, values)| (key, data(values))).collect();
        Self { sums, ..Self::default() }
    }
}

//! Gradients by key: the one place that micro-batches, and blocks, hand theirs to, and clipping by the global norm.

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{DType, Gradients as BackwardPass, TensorData},
};
use cogview4_model::weights::for_each_gradient;
use half::bf16;
use rayon::prelude::*;

use super::{GradientMemory, buffers::with_buffer};

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
    sums: BTreeMap<String, TensorData>,
    /// What they are multiplied with when they are taken out.
    factor: f32,
    /// Where they are kept; without it each has memory of its own.
    memory: Option<GradientMemory>,
}

impl PartialEq for Gradients {
    fn eq(&self, other: &Self) -> bool {
        (&self.sums, self.factor) == (&other.sums, other.factor)
    }
}

impl Default for Gradients {
    fn default() -> Self {
        Self { sums: BTreeMap::new(), factor: 1.0, memory: None }
    }
}

/// The squares of norms of gradients, by key.
#[derive(Debug, Default)]
pub(crate) struct Norms(BTreeMap<String, f64>);

impl Norms {
    /// Adds those of other keys.
    pub(crate) fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The norm of all together.
    pub(crate) fn joint(&self) -> f64 {
        self.0.values().sum::<f64>().sqrt()
    }
}

/// The gradient of a parameter, to be multiplied with a factor.
#[derive(Debug)]
pub(super) struct ScaledGradient {
    data: TensorData,
    factor: f32,
}

impl ScaledGradient {
    pub(super) fn len(&self) -> usize {
        self.data.num_elements()
    }

    /// The values of a chunk of [`CHUNK`], in f32; the buffer is empty at first.
    pub(super) fn chunk<'a>(&'a self, index: usize, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        values(&self.data).chunk(index, self.factor, buffer)
    }
}

impl Gradients {
    /// None yet, to be kept there.
    pub(crate) fn kept_in(memory: Option<&GradientMemory>) -> Self {
        Self { memory: memory.cloned(), ..Self::default() }
    }

    /// Takes all gradients of a model's parameters that a backward pass gave; they count `weight`.
    pub fn take(&mut self, model: &impl Module, pass: BackwardPass, weight: f32) {
        self.take_part("", model, pass, weight);
    }

    /// As [`take`](Self::take), of a part of a model whose keys begin with `prefix`.
    pub(crate) fn take_part(&mut self, prefix: &str, part: &impl Module, pass: BackwardPass, weight: f32) {
        for_each_gradient(part, pass, |key, data| self.add(&format!("{prefix}{key}"), data, weight));
    }

    /// Adds a gradient, which counts `weight`.
    pub(crate) fn add(&mut self, key: &str, data: TensorData, weight: f32) {
        if weight == 1.0 && !self.sums.contains_key(key) {
            return self.keep(key, data);
        }
        let shape = data.shape().clone();
        let mut values = to_f32(data);
        values.iter_mut().for_each(|value| *value *= weight);
        if let Some(sum) = self.sums.remove(key) {
            values.iter_mut().zip(to_f32(sum)).for_each(|(value, sum)| *value += sum);
        }
        self.keep(key, TensorData::new(values, shape));
    }

    fn keep(&mut self, key: &str, data: TensorData) {
        let data = match &self.memory {
            Some(memory) => memory.keep(key, data),
            None => data,
        };
        self.sums.insert(key.into(), data);
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
        let square = |values: &[f32]| values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
        let sums = |data: &TensorData| -> f64 {
            let (values, count) = (values(data), data.num_elements().div_ceil(CHUNK));
            let chunks =
                (0..count).into_par_iter().map(|index| with_buffer(|buffer| square(values.chunk(index, 1.0, buffer))));
            chunks.collect::<Vec<_>>().into_iter().sum()
        };
        Norms(self.sums.iter().map(|(key, data)| (key.clone(), sums(data))).collect())
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
        Self { sums: own, factor: self.factor, memory: None }
    }

    /// Takes one out, as f32.
    pub fn remove(&mut self, key: &str) -> Option<Vec<f32>> {
        let gradient = self.remove_scaled(key)?;
        let chunks = (0..gradient.len().div_ceil(CHUNK)).map(|index| gradient.chunk(index, &mut Vec::new()).to_vec());
        Some(chunks.flatten().collect())
    }

    /// Takes one out as it is, unscaled.
    pub(crate) fn remove_data(&mut self, key: &str) -> Option<TensorData> {
        self.sums.remove(key)
    }

    /// Takes one out, in the type that it has.
    pub(super) fn remove_scaled(&mut self, key: &str) -> Option<ScaledGradient> {
        Some(ScaledGradient { data: self.sums.remove(key)?, factor: self.factor })
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
            TensorData::new(values, [length])
        };
        let sums = gradients.into_iter().map(|(key, values)| (key, data(values))).collect();
        Self { sums, ..Self::default() }
    }
}

/// The values of a gradient, in the type that it has.
enum Values<'a> {
    Full(&'a [f32]),
    Narrow(&'a [bf16]),
}

impl<'a> Values<'a> {
    /// A chunk of [`CHUNK`] times a factor, in f32; the buffer is empty at first.
    fn chunk<'b>(&self, index: usize, factor: f32, buffer: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Self::Full(values) if factor == 1.0 => return part(values, index),
            Self::Full(values) => buffer.extend(part(values, index).iter().map(|value| value * factor)),
            Self::Narrow(values) => buffer.extend(part(values, index).iter().map(|value| value.to_f32() * factor)),
        }
        buffer
    }
}

fn part<T>(values: &[T], index: usize) -> &[T] {
    let start = index * CHUNK;
    &values[start..values.len().min(start + CHUNK)]
}

fn values(data: &TensorData) -> Values<'_> {
    match data.dtype() {
        DType::BF16 => Values::Narrow(data.as_slice().expect("invariant: of this type")),
        _ => Values::Full(data.as_slice().expect("invariant: gradients are f32 or bf16")),
    }
}

fn to_f32(data: TensorData) -> Vec<f32> {
    data.convert_dtype(DType::F32).try_into_vec().expect("invariant: gradients are f32")
}

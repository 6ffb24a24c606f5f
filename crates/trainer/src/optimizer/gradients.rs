//! Gradients by key: the one place that micro-batches, and blocks, hand theirs to, and clipping by the global norm.

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{DType, Gradients as BackwardPass, TensorData},
};
use cogview4_model::weights::for_each_gradient;
use rayon::prelude::*;

/// Values that are worked on together.
pub(super) const CHUNK: usize = 1 << 15;

/// Sums of gradients. What comes once is kept in its own type until it is asked for; sums are in f32.
///
/// ```
/// use cogview4_trainer::Gradients;
///
/// let mut gradients: Gradients = [("weight".to_string(), vec![3.0, -4.0])].into_iter().collect();
/// assert_eq!(gradients.clip_norm(1.0), 5.0);
/// ```
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Gradients(BTreeMap<String, TensorData>);

impl Gradients {
    /// Takes all gradients of a model's parameters that a backward pass gave; they count `weight`.
    pub fn take(&mut self, model: &impl Module, pass: BackwardPass, weight: f32) {
        for_each_gradient(model, pass, |key, data| self.add(key, data, weight));
    }

    fn add(&mut self, key: &str, data: TensorData, weight: f32) {
        if weight == 1.0 && !self.0.contains_key(key) {
            self.0.insert(key.into(), data);
            return;
        }
        let shape = data.shape().clone();
        let mut values = to_f32(data);
        values.iter_mut().for_each(|value| *value *= weight);
        if let Some(sum) = self.0.remove(key) {
            values.iter_mut().zip(to_f32(sum)).for_each(|(value, sum)| *value += sum);
        }
        self.0.insert(key.into(), TensorData::new(values, shape));
    }

    /// Scales all gradients so that their joint norm is at most `max_norm`, and gives the norm before; not a number or
    /// infinite where a gradient is.
    ///
    /// Summed in chunks of fixed size that are added in order, so that it repeats bit for bit.
    pub fn clip_norm(&mut self, max_norm: f64) -> f64 {
        // One after another and without a copy: what is wide already is handed on.
        let widen = |(key, data): (String, TensorData)| (key, data.convert_dtype(DType::F32));
        self.0 = std::mem::take(&mut self.0).into_iter().map(widen).collect();
        let square = |values: &[f32]| values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
        let sums = |data: &TensorData| -> f64 {
            values(data).par_chunks(CHUNK).map(square).collect::<Vec<_>>().into_iter().sum()
        };
        let norm = self.0.values().map(sums).sum::<f64>().sqrt();
        let factor = max_norm / (norm + 1e-6);
        if factor < 1.0 {
            let factor = factor as f32;
            for data in self.0.values_mut() {
                let values: &mut [f32] = data.as_mut_slice().expect("invariant: widened above");
                values.par_iter_mut().for_each(|value| *value *= factor);
            }
        }
        norm
    }

    /// Takes one out, as f32.
    pub fn remove(&mut self, key: &str) -> Option<Vec<f32>> {
        self.0.remove(key).map(to_f32)
    }

    /// Keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, Vec<f32>)> for Gradients {
    fn from_iter<I: IntoIterator<Item = (String, Vec<f32>)>>(gradients: I) -> Self {
        let data = |values: Vec<f32>| {
            let length = values.len();
            TensorData::new(values, [length])
        };
        Self(gradients.into_iter().map(|(key, values)| (key, data(values))).collect())
    }
}

fn values(data: &TensorData) -> &[f32] {
    data.as_slice().expect("invariant: widened before")
}

fn to_f32(data: TensorData) -> Vec<f32> {
    data.convert_dtype(DType::F32).try_into_vec().expect("invariant: gradients are f32")
}

//! Where gradients go: the one place that micro-batches, and blocks, hand them to.

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{DType, Gradients, TensorData},
};
use cogview4_model::weights::take_gradients;

/// Sums gradients by key. What comes once is kept in its own type until it is asked for; sums are in f32.
#[derive(Debug, Default)]
pub(crate) struct GradientSink {
    sums: BTreeMap<String, TensorData>,
    part: f32,
}

impl GradientSink {
    /// What is added from now on counts this much.
    pub(crate) fn set_part(&mut self, part: f32) {
        self.part = part;
    }

    /// Takes all gradients of the model's parameters that a backward pass gave.
    pub(crate) fn take(&mut self, model: &impl Module, gradients: Gradients) {
        for (key, data) in take_gradients(model, gradients) {
            if self.part == 1.0 && !self.sums.contains_key(&key) {
                self.sums.insert(key, data);
                continue;
            }
            let shape = data.shape().clone();
            let mut values = to_f32(data);
            values.iter_mut().for_each(|value| *value *= self.part);
            if let Some(sum) = self.sums.remove(&key) {
                values.iter_mut().zip(to_f32(sum)).for_each(|(value, sum)| *value += sum);
            }
            self.sums.insert(key, TensorData::new(values, shape));
        }
    }

    /// The sums, by key.
    pub(crate) fn into_sums(self) -> Vec<(String, Vec<f32>)> {
        self.sums.into_iter().map(|(key, data)| (key, to_f32(data))).collect()
    }
}

fn to_f32(data: TensorData) -> Vec<f32> {
    data.convert_dtype(DType::F32).try_into_vec().expect("invariant: gradients are f32")
}

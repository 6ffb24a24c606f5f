//! Where gradients go: the one place that micro-batches, and blocks, hand them to.

use std::collections::BTreeMap;

use burn::tensor::{DType, Gradients};
use cogview4_model::{CogView4Transformer, weights::take_gradients};

/// Sums gradients by key, in f32.
#[derive(Debug, Default)]
pub(crate) struct GradientSink {
    sums: BTreeMap<String, Vec<f32>>,
    part: f32,
}

impl GradientSink {
    /// What is added from now on counts this much.
    pub(crate) fn set_part(&mut self, part: f32) {
        self.part = part;
    }

    /// Takes all gradients of the model's parameters that a backward pass gave.
    pub(crate) fn take(&mut self, model: &CogView4Transformer, gradients: Gradients) {
        let part = self.part;
        for (key, data) in take_gradients(model, gradients) {
            let mut values: Vec<f32> =
                data.convert_dtype(DType::F32).try_into_vec().expect("invariant: gradients are f32");
            if part != 1.0 {
                values.iter_mut().for_each(|value| *value *= part);
            }
            match self.sums.get_mut(&key) {
                Some(sum) => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
                None => drop(self.sums.insert(key, values)),
            }
        }
    }

    /// The sums, by key.
    pub(crate) fn into_sums(self) -> Vec<(String, Vec<f32>)> {
        self.sums.into_iter().collect()
    }
}

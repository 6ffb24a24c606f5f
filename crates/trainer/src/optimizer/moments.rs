//! Where the moments of the optimiser live.

use std::collections::BTreeMap;

use burn::tensor::{DType, TensorData};
use cogview4_model::weights::TensorSource;

/// Keeps both moments of every trained parameter, by the parameter's key. In memory today; a file, 8-bit blocks or a
/// device are further ways to keep them.
pub trait MomentStore: std::fmt::Debug + Send {
    /// Lends first and second moment of a parameter of `len` values to `update`; zeros where it has none yet.
    fn with(&mut self, key: &str, len: usize, update: &mut dyn FnMut(&mut [f32], &mut [f32]));

    /// All moments as tensors `exp_avg.KEY` and `exp_avg_sq.KEY`, f32, each read when its turn to be written comes.
    fn tensors(&self) -> Vec<(String, TensorSource<'_>)>;
}

/// Moments in the host's memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MomentsInMemory(BTreeMap<String, [Vec<f32>; 2]>);

/// Names of the two moments, as in PyTorch's optimiser.
pub(crate) const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

impl MomentStore for MomentsInMemory {
    fn with(&mut self, key: &str, len: usize, update: &mut dyn FnMut(&mut [f32], &mut [f32])) {
        if !self.0.contains_key(key) {
            self.0.insert(key.into(), [vec![0.0; len], vec![0.0; len]]);
        }
        let [exp_avg, exp_avg_sq] = self.0.get_mut(key).expect("invariant: inserted above");
        update(exp_avg, exp_avg_sq);
    }

    fn tensors(&self) -> Vec<(String, TensorSource<'_>)> {
        let mut tensors = Vec::with_capacity(MOMENTS.len() * self.0.len());
        for (key, moments) in &self.0 {
            let named = MOMENTS.into_iter().zip(moments);
            tensors.extend(named.map(|(name, values)| (format!("{name}.{key}"), source(values))));
        }
        tensors
    }
}

/// Copies the values only when they are read.
fn source(values: &[f32]) -> TensorSource<'_> {
    TensorSource::new(DType::F32, [values.len()], || TensorData::new(values.to_vec(), [values.len()]))
}

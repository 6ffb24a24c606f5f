//! Fixtures of PyTorch for the tests of every room; `scripts/reference/make_fixtures.py` makes them.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use cogview4_model::weights::WeightFiles;

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

pub(crate) fn json(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("training").join(name)).unwrap()).unwrap()
}

pub(crate) struct Fixture(pub WeightFiles, Device);

impl Fixture {
    pub(crate) fn open(name: &str, device: &Device) -> Self {
        Self(WeightFiles::open_file(&fixtures().join("training").join(name)).unwrap(), device.clone())
    }

    pub(crate) fn data(&self, key: &str) -> TensorData {
        self.0.read(key, DType::F32).unwrap()
    }

    pub(crate) fn values(&self, key: &str) -> Vec<f32> {
        self.data(key).try_into_vec().unwrap()
    }

    pub(crate) fn tensor<const D: usize>(&self, key: &str) -> Tensor<D> {
        Tensor::from_data(self.data(key), &self.1)
    }
}

pub(crate) fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied()).max(1e-30)
}

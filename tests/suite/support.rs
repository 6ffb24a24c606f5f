//! Fixtures, tolerances and the device that tests share.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use cogview4::model::{DeviceSpec, weights::WeightFiles};

/// Bound on the relative L2 difference of whole models and runs in f32.
pub(crate) const MODEL_TOLERANCE: f64 = 1e-5;
/// The pipelines among the fixtures.
pub(crate) const PIPELINES: [&str; 2] = ["plain", "variant"];

pub(crate) fn fixtures() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures"].iter().collect()
}

pub(crate) fn json(path: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join(path)).unwrap()).unwrap()
}

pub(crate) fn device() -> Device {
    DeviceSpec::default().open().unwrap()
}

/// The tensors of one fixture file, for one device.
pub(crate) struct Parts {
    files: WeightFiles,
    device: Device,
}

impl Parts {
    pub(crate) fn open(path: &str) -> Self {
        Self::open_on(path, device())
    }

    pub(crate) fn open_on(path: &str, device: Device) -> Self {
        Self { files: WeightFiles::open_file(&fixtures().join(path)).unwrap(), device }
    }

    pub(crate) fn tensor<const D: usize>(&self, key: &str) -> Tensor<D> {
        Tensor::from_data(self.files.read(key, burn::tensor::DType::F32).unwrap(), &self.device)
    }

    pub(crate) fn values(&self, key: &str) -> Vec<f32> {
        values(self.files.read(key, burn::tensor::DType::F32).unwrap())
    }
}

pub(crate) fn values(data: TensorData) -> Vec<f32> {
    data.try_to_vec().unwrap()
}

/// Relative L2 difference; not a number in either is infinitely far.
pub(crate) fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    let distance = difference / norm(&mut expected.iter().map(|&value| f64::from(value)));
    if distance.is_nan() { f64::INFINITY } else { distance }
}

#[track_caller]
pub(crate) fn assert_close<const D: usize>(what: &str, found: Tensor<D>, expected: Tensor<D>, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let distance = distance(&values(found.into_data()), &values(expected.into_data()));
    assert!(distance <= tolerance, "{what}: {distance:.2e} is more than {tolerance:.0e}");
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

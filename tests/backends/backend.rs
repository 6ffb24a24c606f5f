//! A backend under test.

use burn::tensor::{Device, Tensor};
use cogview4::model::DeviceSpec;

use crate::support::{self, Parts};

/// Bound on every relative difference where a software driver computes.
const WGPU_TOLERANCE: f64 = 1e-3;

pub(crate) struct Backend {
    pub spec: DeviceSpec,
    pub device: Device,
}

impl Backend {
    /// A fixture file, on this device.
    pub(crate) fn open(&self, path: &str) -> Parts {
        Parts::open_on(path, self.device.clone())
    }

    #[track_caller]
    pub(crate) fn assert_close<const D: usize>(
        &self,
        what: &str,
        found: Tensor<D>,
        expected: Tensor<D>,
        tolerance: f64,
    ) {
        let is_wgpu = matches!(self.spec, DeviceSpec::Wgpu { .. });
        let tolerance = if is_wgpu { WGPU_TOLERANCE } else { tolerance };
        support::assert_close(&format!("{}: {what}", self.spec), found, expected, tolerance);
    }
}

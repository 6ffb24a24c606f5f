//! The one place that decides where and in which number type the computation runs.
//!
//! `--device` and `--dtype` are parsed here; nothing else in the workspace matches on device names or dtypes.

use std::str::FromStr;

use burn::tensor::{DType, Device};
use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result};

/// A device by name: `flex` (pure-Rust CPU). Further names are known, so that asking for one gets a useful answer.
///
/// ```
/// use cogview4_model::DeviceSpec;
///
/// let device = "flex".parse::<DeviceSpec>()?.open()?;
/// assert!("tpu".parse::<DeviceSpec>().is_err());
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeviceSpec {
    /// The pure-Rust CPU backend.
    #[default]
    Flex,
}

impl DeviceSpec {
    /// Opens the device.
    ///
    /// # Errors
    /// [`ModelError::Device`] when the backend is not part of this build.
    pub fn open(self) -> Result<Device> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(not(feature = "flex"))]
            Self::Flex => Err(device_error("flex", "not part of this build: rebuild with `--features flex`")),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self> {
        match name.split(':').next() {
            Some("flex") if name == "flex" => Ok(Self::Flex),
            Some("libtorch" | "libtorch-cuda" | "cuda" | "wgpu") => {
                Err(device_error(name, "this backend is not available yet, use `flex`"))
            }
            _ => Err(device_error(name, "unknown, the known device is `flex`")),
        }
    }
}

fn device_error(name: &str, reason: &str) -> ModelError {
    ModelError::Device { name: name.into(), reason: reason.into() }
}

/// The number type that weights and activations are held in.
///
/// The policy: norms, reductions, the schedule and the latents between steps are float32 whatever the choice here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ComputeDtype {
    /// Everything in 32 bits.
    #[default]
    Float32,
    /// Weights and matrix products in bfloat16. Training only for now, with f32 masters.
    BFloat16,
}

impl ComputeDtype {
    /// The tensor type of weights and activations.
    pub fn dtype(self) -> DType {
        match self {
            Self::Float32 => DType::F32,
            Self::BFloat16 => DType::BF16,
        }
    }
}

impl FromStr for ComputeDtype {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self> {
        let refuse = |reason: &str| Err(ModelError::bad_input(format!("dtype `{name}`"), reason));
        match name {
            "float32" => Ok(Self::Float32),
            "bfloat16" => refuse("not available yet, use `float32`"),
            _ => refuse("unknown, the known type is `float32`"),
        }
    }
}

//! The one place that decides where and in which number type the computation runs.
//!
//! `--device` and `--dtype` are parsed here; nothing else in the workspace matches on device names or dtypes.

use std::{fmt, str::FromStr};

use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result};

/// A device by name: `flex`, `libtorch`, `libtorch-cuda[:N]`, `cuda[:N]`, `wgpu[:cpu]`. All names are known in every build;
/// opening one that is not part of the build, or not there, says so.
///
/// ```
/// use cogview4_model::DeviceSpec;
///
/// let device = "flex".parse::<DeviceSpec>()?.open()?;
/// assert!("tpu".parse::<DeviceSpec>().is_err());
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeviceSpec {
    /// The pure-Rust CPU backend.
    #[default]
    Flex,
    /// PyTorch's library on the CPU.
    Libtorch,
    /// PyTorch's library on a CUDA device.
    LibtorchCuda(usize),
    /// CubeCL on a CUDA device.
    Cuda(usize),
    /// CubeCL through wgpu, on the best adapter or on a software one.
    Wgpu {
        /// Whether a software adapter is asked for.
        cpu: bool,
    },
}

impl DeviceSpec {
    /// All devices without index, in the order of preference for tests.
    pub const ALL: [Self; 6] = [
        Self::Flex,
        Self::Libtorch,
        Self::LibtorchCuda(0),
        Self::Cuda(0),
        Self::Wgpu { cpu: false },
        Self::Wgpu { cpu: true },
    ];

    /// Opens the device. On Linux, `libtorch` sets glibc to keep the memory of freed tensors for the next ones, unless the
    /// environment has a `MALLOC_` variable.
    ///
    /// # Errors
    /// [`ModelError::Device`] when the backend is not part of this build, or no such device answers.
    pub fn open(self) -> Result<Device> {
        let device = match self {
            #[cfg(feature = "flex")]
            Self::Flex => Device::flex(),
            #[cfg(feature = "libtorch")]
            Self::Libtorch | Self::LibtorchCuda(_) => self.open_libtorch()?,
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Device::cuda(index),
            #[cfg(feature = "wgpu")]
            Self::Wgpu { cpu } => {
                use burn::tensor::DeviceKind;
                Device::wgpu(if cpu { DeviceKind::Cpu } else { DeviceKind::DefaultDevice })
            }
            #[allow(unreachable_patterns, reason = "a build may have all backends")]
            _ => {
                let reason = format!("not part of this build: rebuild with `--features {}`", self.feature());
                return Err(device_error(&self.to_string(), &reason));
            }
        };
        self.probe(device)
    }

    #[cfg(feature = "libtorch")]
    #[expect(deprecated, reason = "Burn means to drop libtorch one day; it is the fastest on CPUs today")]
    fn open_libtorch(self) -> Result<Device> {
        let Self::LibtorchCuda(index) = self else {
            crate::allocator::keep_freed_memory();
            return Ok(Device::libtorch());
        };
        let count = tch::Cuda::device_count();
        if usize::try_from(count).is_ok_and(|count| index < count) {
            return Ok(Device::libtorch_cuda(index));
        }
        let reason = format!("libtorch sees {count} CUDA devices: is the driver there, and libtorch one with CUDA?");
        Err(device_error(&self.to_string(), &reason))
    }

    /// Whether the device computes; drivers that are missing show only then, and some by a panic.
    fn probe(self, device: Device) -> Result<Device> {
        if matches!(self, Self::Flex | Self::Libtorch) {
            return Ok(device);
        }
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let computes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let two: f32 = Tensor::<1>::ones([2], &device).sum().into_scalar();
            two == 2.0
        }));
        std::panic::set_hook(hook);
        match computes {
            Ok(true) => Ok(device),
            _ => Err(device_error(&self.to_string(), "no such device answers: is its driver installed?")),
        }
    }

    /// The cargo feature that the backend is part of.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Libtorch | Self::LibtorchCuda(_) => "libtorch",
            Self::Cuda(_) => "cuda",
            Self::Wgpu { .. } => "wgpu",
        }
    }
}

/// Whether a device is the pure-Rust CPU, with or without autodiff.
#[cfg_attr(not(feature = "flex"), expect(unused_variables, reason = "no device is, then"))]
pub fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    return false;
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flex => f.write_str("flex"),
            Self::Libtorch => f.write_str("libtorch"),
            Self::LibtorchCuda(index) => write!(f, "libtorch-cuda:{index}"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu { cpu: false } => f.write_str("wgpu"),
            Self::Wgpu { cpu: true } => f.write_str("wgpu:cpu"),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self> {
        let unknown =
            || device_error(name, "unknown, there are `flex`, `libtorch`, `libtorch-cuda`, `cuda` and `wgpu`");
        let (backend, part) = name.split_once(':').map_or((name, None), |(backend, part)| (backend, Some(part)));
        let index = || part.map_or(Ok(0), |part| part.parse().map_err(|_| unknown()));
        match (backend, part) {
            ("flex", None) => Ok(Self::Flex),
            ("libtorch", None) => Ok(Self::Libtorch),
            ("libtorch-cuda", _) => Ok(Self::LibtorchCuda(index()?)),
            ("cuda", _) => Ok(Self::Cuda(index()?)),
            ("wgpu", None) => Ok(Self::Wgpu { cpu: false }),
            ("wgpu", Some("cpu")) => Ok(Self::Wgpu { cpu: true }),
            _ => Err(unknown()),
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
    /// Weights and matrix products in bfloat16; training keeps f32 masters.
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
            "bfloat16" => Ok(Self::BFloat16),
            "float16" | "fp16" | "fp8" => refuse("is too narrow for this model, use `bfloat16` or `float32`"),
            _ => refuse("unknown, the known types are `float32` and `bfloat16`"),
        }
    }
}

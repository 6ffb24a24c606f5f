//! The one place that decides where and in which number type the computation runs.
//!
//! `--device` and `--dtype` are parsed here; nothing else in the workspace matches on device names or dtypes. What one
//! backend wants to be treated like stands here too, so that callers say what they mean and not which backend they run
//! on.

mod dtype;
mod memory;
mod peak;

use std::{fmt, str::FromStr};

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result};

pub use dtype::ComputeDtype;
pub use memory::ReturnFreedMemory;

/// A device by name: `flex`, `libtorch`, `libtorch-cuda[:N]`, `cuda[:N]`, `wgpu[:cpu]`. All names are known in every
/// build; opening one that is not part of the build, or not there, says so.
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

    /// The device of a process that is number `local_rank` of those of its machine: of devices with an index, the next ones.
    ///
    /// ```
    /// use cogview4_model::DeviceSpec;
    ///
    /// assert_eq!(DeviceSpec::Cuda(0).of_process(3), DeviceSpec::Cuda(3));
    /// assert_eq!(DeviceSpec::Flex.of_process(3), DeviceSpec::Flex);
    /// ```
    #[must_use]
    pub fn of_process(self, local_rank: usize) -> Self {
        match self {
            Self::LibtorchCuda(index) => Self::LibtorchCuda(index + local_rank),
            Self::Cuda(index) => Self::Cuda(index + local_rank),
            other => other,
        }
    }

    /// Opens the device. On Linux, `libtorch` sets glibc to keep the memory of freed tensors for the next ones, unless
    /// the environment has a `MALLOC_` variable.
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
            Self::Cuda(index) => self.open_cuda(index)?,
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
            memory::keep_freed_memory();
            return Ok(Device::libtorch());
        };
        let count = tch::Cuda::device_count();
        if usize::try_from(count).is_ok_and(|count| index < count) {
            return Ok(Device::libtorch_cuda(index));
        }
        let reason = format!("libtorch sees {count} CUDA devices: is the driver there, and libtorch one with CUDA?");
        Err(device_error(&self.to_string(), &reason))
    }

    /// A driver that is missing is noticed here: CubeCL would panic in a thread of its own, and open no other device then.
    #[cfg(feature = "cuda")]
    #[expect(unsafe_code, reason = "loading a library is unsafe by definition")]
    fn open_cuda(self, index: usize) -> Result<Device> {
        // SAFETY: the driver's library runs nothing of ours when it is loaded.
        match unsafe { cudarc::driver::sys::is_culib_present() } {
            true => Ok(Device::cuda(index)),
            false => Err(device_error(&self.to_string(), "there is no libcuda: is the driver installed?")),
        }
    }

    /// Whether the device computes; drivers that are missing show only then, and some by a panic.
    fn probe(self, device: Device) -> Result<Device> {
        if self.is_cpu() {
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

    /// Whether it computes on the CPU, with tensors in the host's memory.
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::Libtorch)
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

/// Runs a computation for each item, all at once where that is faster: on the pure-Rust CPU, where what runs on one
/// thread within one of them would leave the other cores idle. The results have the order of the items.
pub fn each<T: Send, R: Send>(device: &Device, items: Vec<T>, run: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    match is_flex(device) && items.len() > 1 {
        true => items.into_par_iter().map(run).collect(),
        false => items.into_iter().map(run).collect(),
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

/// Whether a device is libtorch's CPU, with or without autodiff.
#[cfg_attr(not(feature = "libtorch"), expect(unused_variables, reason = "no device is, then"))]
#[cfg_attr(feature = "libtorch", expect(deprecated, reason = "see `open_libtorch`"))]
pub(crate) fn is_libtorch_cpu(device: &Device) -> bool {
    #[cfg(feature = "libtorch")]
    return *device == Device::libtorch();
    #[cfg(not(feature = "libtorch"))]
    return false;
}

/// Whether a device is one of libtorch's, with or without autodiff.
#[cfg_attr(not(feature = "libtorch"), expect(unused_variables, reason = "no device is, then"))]
pub(crate) fn is_libtorch(device: &Device) -> bool {
    #[cfg(feature = "libtorch")]
    return matches!(device.clone().without_autodiff().as_dispatch(), burn::backend::DispatchDevice::LibTorch(_));
    #[cfg(not(feature = "libtorch"))]
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

//! `--allow_tf32`: products of f32 matrices with factors of 10 bits, as PyTorch's `torch.backends.cuda.matmul.allow_tf32`.

use cogview4_model::DeviceSpec;

use crate::error::{Result, TrainError};

/// What libtorch asks when it is loaded; there is no call for it.
const VARIABLE: &str = "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE";

/// Allows it on a device of libtorch, where this process has to begin again; gives the note that is due on others.
///
/// # Errors
/// The process does not begin again.
pub(super) fn allow(device: DeviceSpec) -> Result<Option<String>> {
    if !matches!(device, DeviceSpec::LibtorchCuda(_)) {
        return Ok(Some(format!("allow_tf32 has no effect on {device}: it is libtorch's, on CUDA devices")));
    }
    match std::env::var_os(VARIABLE).is_some_and(|value| value == "1") {
        true => Ok(None),
        false => Err(TrainError::setting("allow_tf32", begin_again())),
    }
}

/// Why this process did not begin again with the variable.
#[cfg(unix)]
fn begin_again() -> String {
    use std::{os::unix::process::CommandExt, process::Command};
    match std::env::current_exe() {
        Ok(program) => Command::new(program).args(std::env::args_os().skip(1)).env(VARIABLE, "1").exec().to_string(),
        Err(error) => error.to_string(),
    }
}

#[cfg(not(unix))]
fn begin_again() -> String {
    format!("needs {VARIABLE}=1 in the environment")
}

//! How much memory the process takes, and whether a run has enough.

use cogview4_model::DeviceSpec;

use crate::{
    config::TrainConfig,
    error::{Result, TrainError},
};

/// The most memory that this process has held; 0 where the system does not tell.
pub fn peak_memory_bytes() -> u64 {
    kilobytes("/proc/self/status", "VmHWM:").unwrap_or_default() * 1024
}

/// Checks that weights, gradients and moments have room in the host's memory, as far as the system tells.
///
/// # Errors
/// Too little memory; says how much is needed.
pub(crate) fn check_memory(config: &TrainConfig, parameters: u64) -> Result<()> {
    let free = |name| kilobytes("/proc/meminfo", name);
    let available = free("MemAvailable:").map(|memory| memory + free("SwapFree:").unwrap_or_default());
    check(config, parameters, available.map(|available| available * 1024))
}

fn check(config: &TrainConfig, parameters: u64, available: Option<u64>) -> Result<()> {
    let needed = parameters.saturating_mul(bytes_per_parameter(config));
    match available {
        Some(available) if available < needed => Err(TrainError::setting(
            "pretrained_model_name_or_path",
            format!(
                "weights, gradients and moments of {parameters} parameters need {needed} bytes of memory, {available} \
                 are free"
            ),
        )),
        _ => Ok(()),
    }
}

/// f32 gradients and two moments are the host's; so are the f32 weights where the device is the CPU. A copy of the
/// weights in another type is gone when the gradients are widened.
fn bytes_per_parameter(config: &TrainConfig) -> u64 {
    let host = 4 + 2 * 4;
    match config.device {
        DeviceSpec::Flex | DeviceSpec::Libtorch => host + 4,
        _ => host,
    }
}

/// A line of one of Linux's tables.
fn kilobytes(table: &str, name: &str) -> Option<u64> {
    let table = std::fs::read_to_string(table).ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_does_not_fit_is_refused() {
        let config = TrainConfig::new("model", "out");
        check(&config, 1000, Some(16_000)).expect("just enough");
        check(&config, u64::MAX, None).expect("nobody knows");
        let error = check(&config, 1000, Some(15_999)).expect_err("too little").to_string();
        assert!(error.contains("16000 bytes") && error.contains("15999 are free"), "{error}");
        assert!(peak_memory_bytes() > 0 || !cfg!(target_os = "linux"));
    }
}

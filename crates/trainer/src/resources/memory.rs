//! Whether a run has enough memory.

use cogview4_model::memory::available_bytes;

use crate::{
    config::TrainConfig,
    error::{Result, TrainError},
};

/// Checks that weights, gradients and moments have room in the host's memory, as far as the system tells.
///
/// # Errors
/// Too little memory; says how much is needed.
pub(crate) fn check_memory(config: &TrainConfig, parameters: u64) -> Result<()> {
    check(config, parameters, available_bytes())
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
    if config.device.is_cpu() { host + 4 } else { host }
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
    }
}

//! Whether a run has enough memory.

use cogview4_model::{ComputeDtype, memory::available_bytes};

use crate::{
    config::{Recipe, TrainConfig},
    error::{Result, TrainError},
    optimizer::BLOCK,
};

/// Checks that weights, gradients and moments have room in the host's memory, as far as the system tells.
///
/// # Errors
/// Too little memory; says how much is needed.
pub(crate) fn check_memory(config: &TrainConfig, parameters: u64) -> Result<()> {
    check(config, parameters, available_bytes())
}

fn check(config: &TrainConfig, parameters: u64, available: Option<u64>) -> Result<()> {
    let needed = bytes_of(config, parameters);
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

/// Gradients are the host's, in the type that is computed in until they are summed; so are masters and moments, and the
/// weights where the device is the CPU.
fn bytes_of(config: &TrainConfig, parameters: u64) -> u64 {
    let recipe = &config.recipe;
    let narrow = recipe.compute_dtype.dtype().size() as u64;
    let gradients = match recipe.gradient_accumulation_steps {
        // Those of one block count little beside the model.
        1 if recipe.optimizer_in_backward => 0,
        1 => narrow,
        _ => 4,
    };
    let weights = if config.device.is_cpu() { narrow } else { 0 };
    let state = match config.scratch_folder() {
        None => state_bytes(recipe, parameters),
        // What is on the disk is in memory as long as there is room.
        Some(_) => 0,
    };
    parameters.saturating_mul(gradients + weights).saturating_add(state)
}

/// Bytes of masters and moments.
pub(super) fn state_bytes(recipe: &Recipe, parameters: u64) -> u64 {
    let has_masters = recipe.compute_dtype == ComputeDtype::BFloat16 && !recipe.stochastic_rounding;
    let masters = if has_masters { parameters.saturating_mul(4) } else { 0 };
    masters.saturating_add(moment_bytes(recipe, parameters))
}

/// Bytes of both moments: in 8 bits a scale in f32 for each block.
pub(super) fn moment_bytes(recipe: &Recipe, parameters: u64) -> u64 {
    match recipe.use_8bit_adam {
        false => parameters.saturating_mul(2 * 4),
        true => parameters.saturating_mul(2).saturating_add(2 * 4 * parameters.div_ceil(BLOCK as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerOffload;

    #[test]
    fn a_model_that_does_not_fit_is_refused() {
        let config = TrainConfig::new("model", "out");
        check(&config, 1000, Some(16_000)).expect("just enough");
        check(&config, u64::MAX, None).expect("nobody knows");
        let error = check(&config, 1000, Some(15_999)).expect_err("too little").to_string();
        assert!(error.contains("16000 bytes") && error.contains("15999 are free"), "{error}");
    }

    #[test]
    fn what_is_kept_decides_what_is_needed() {
        let mut config = TrainConfig::new("model", "out");
        config.recipe.compute_dtype = ComputeDtype::BFloat16;
        assert_eq!(bytes_of(&config, 256), 256 * (2 + 2 + 4 + 8));
        config.recipe.use_8bit_adam = true;
        assert_eq!(bytes_of(&config, 256), 256 * (2 + 2 + 4 + 2) + 2 * 4);
        config.recipe.stochastic_rounding = true;
        config.recipe.optimizer_in_backward = true;
        assert_eq!(bytes_of(&config, 256), 256 * (2 + 2) + 2 * 4);
        config.optimizer_offload = OptimizerOffload::Disk;
        assert_eq!(bytes_of(&config, 256), 256 * 2);
    }
}

//! Whether what a run will write fits on the disk.

use std::path::Path;

use cogview4_control_pipeline::PipelineConfigs;
use cogview4_model::ComputeDtype;

use super::memory::{moment_bytes, state_bytes};
use crate::{
    checkpoint::list,
    config::{Recipe, TrainConfig},
    error::{Result, TrainError},
};

/// Checks that the pack and one checkpoint more than are kept have room.
///
/// # Errors
/// Too little space; says how much is needed.
pub(crate) fn check_disk(
    config: &TrainConfig,
    configs: &PipelineConfigs,
    rows: usize,
    steps: std::ops::Range<usize>,
    parameters: u64,
) -> Result<()> {
    let checkpoint = checkpoint_bytes(&config.recipe, parameters, config.save_dtype);
    let kept = config.checkpoints_total_limit.map_or(1, |limit| limit as u64);
    let there = list(&config.output_dir)?.len() as u64;
    // Those of the steps that are left, and one that a signal asks for.
    let of = |step: usize| step / config.checkpointing_steps;
    let planned = of(steps.end).saturating_sub(of(steps.start)) as u64 + 1;
    let written = (kept + 1).saturating_sub(there).max(1).min(planned);
    let checkpoints = checkpoint.saturating_mul(written);
    check_folder(&config.output_dir, "output_dir", checkpoints)?;
    if let Some(scratch) = config.scratch_folder() {
        // It is made only when it is needed.
        let there = scratch.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        // Where it is the output folder's disk, that has to hold both.
        let beside = if config.scratch_dir.is_none() { checkpoints } else { 0 };
        check_folder(there, "scratch_dir", state_bytes(&config.recipe, parameters).saturating_add(beside))?;
    }
    if let Some(pack) = &config.pack_folder() {
        let side = u64::from(config.recipe.resolution) / configs.vae.scale_factor() as u64;
        let moments = 2 * configs.vae.latent_channels as u64 * side * side * size_of::<f32>() as u64;
        let packed = std::fs::metadata(pack.join("pack.bin")).map_or(0, |metadata| metadata.len());
        check_folder(pack, "pack_dir", (2 * moments).saturating_mul(rows as u64).saturating_sub(packed))?;
    }
    Ok(())
}

/// The transformer in the type that it is saved in, two moments, and f32 masters where that type is narrower.
fn checkpoint_bytes(recipe: &Recipe, parameters: u64, save_dtype: ComputeDtype) -> u64 {
    let each = match save_dtype {
        ComputeDtype::BFloat16 if recipe.stochastic_rounding => 2,
        ComputeDtype::BFloat16 => 2 + 4,
        _ => 4,
    };
    parameters.saturating_mul(each).saturating_add(moment_bytes(recipe, parameters))
}

fn check_folder(folder: &Path, name: &'static str, needed: u64) -> Result<()> {
    let available = fs4::available_space(folder)
        .map_err(|error| TrainError::setting(name, format!("{}: {error}", folder.display())))?;
    if available < needed {
        let reason = format!("{} needs {needed} bytes, {available} are free", folder.display());
        return Err(TrainError::setting(name, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        check_folder(folder.path(), "output_dir", 1).expect("a byte");
        let error = check_folder(folder.path(), "output_dir", u64::MAX).expect_err("too much").to_string();
        assert!(error.starts_with("output_dir: ") && error.contains("are free"), "{error}");
        let recipe = Recipe::default();
        assert_eq!(checkpoint_bytes(&recipe, 10, ComputeDtype::Float32), 120);
        assert_eq!(checkpoint_bytes(&recipe, 10, ComputeDtype::BFloat16), 140);
        let small = Recipe { use_8bit_adam: true, stochastic_rounding: true, ..recipe };
        assert_eq!(checkpoint_bytes(&small, 256, ComputeDtype::BFloat16), 2 * 256 + 2 * (256 + 4));
    }
}

//! Whether what a run will write fits on the disk.

use std::path::Path;

use cogview4_control_pipeline::PipelineConfigs;
use cogview4_model::ComputeDtype;

use crate::{
    checkpoint::list,
    config::TrainConfig,
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
    let checkpoint = checkpoint_bytes(parameters, config.save_dtype);
    let kept = config.checkpoints_total_limit.map_or(1, |limit| limit as u64);
    let there = list(&config.output_dir)?.len() as u64;
    // Those of the steps that are left, and one that a signal asks for.
    let of = |step: usize| step / config.checkpointing_steps;
    let planned = of(steps.end).saturating_sub(of(steps.start)) as u64 + 1;
    let written = (kept + 1).saturating_sub(there).max(1).min(planned);
    let checkpoints = checkpoint.saturating_mul(written);
    check_folder(&config.output_dir, "output_dir", checkpoints)?;
    if let Some(pack) = &config.pack_folder() {
        let side = u64::from(config.recipe.resolution) / configs.vae.scale_factor() as u64;
        let moments = 2 * configs.vae.latent_channels as u64 * side * side * size_of::<f32>() as u64;
        let packed = std::fs::metadata(pack.join("pack.bin")).map_or(0, |metadata| metadata.len());
        check_folder(pack, "pack_dir", (2 * moments).saturating_mul(rows as u64).saturating_sub(packed))?;
    }
    Ok(())
}

/// The transformer in the type that it is saved in, two moments, and f32 masters where that type is narrower.
fn checkpoint_bytes(parameters: u64, save_dtype: ComputeDtype) -> u64 {
    let each = match save_dtype {
        ComputeDtype::BFloat16 => 2 + 4 + 2 * 4,
        _ => 4 + 2 * 4,
    };
    parameters.saturating_mul(each)
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
        assert_eq!(checkpoint_bytes(10, ComputeDtype::Float32), 120);
        assert_eq!(checkpoint_bytes(10, ComputeDtype::BFloat16), 140);
    }
}

//! Whether what a run will write fits on the disk.

use std::path::{Path, PathBuf};

use cogview4_control_pipeline::PipelineConfigs;
use cogview4_model::ComputeDtype;

use super::{
    Processes,
    state::{gradient_bytes, moment_bytes, state_bytes},
};
use crate::{
    checkpoint::list,
    config::{Offload, Recipe, TrainConfig},
    error::{Result, TrainError},
};

/// The name of the part that is there only where a checkpoint is written on the way.
const CHECKPOINTS: &str = "checkpoints";

/// Something that a run writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskPart {
    /// What it is.
    pub name: &'static str,
    /// The setting that says where it goes.
    pub setting: &'static str,
    /// Where it goes.
    pub folder: PathBuf,
    /// How much more than there is.
    pub bytes: u64,
}

/// What a run of these steps writes, as far as it is large. Without a checkpoint on the way there is none, unless the
/// run is stopped.
pub(super) fn disk_parts(
    config: &TrainConfig,
    configs: &PipelineConfigs,
    (rows, steps): (usize, std::ops::Range<usize>),
    (parameters, processes): (u64, Processes),
) -> Result<Vec<DiskPart>> {
    let recipe = &config.recipe;
    let saved = parameters.saturating_mul(config.save_dtype.dtype().size() as u64);
    let computed = parameters.saturating_mul(recipe.compute_dtype.dtype().size() as u64);
    // Weights that change in the file that becomes the result are there once, those of another type beside it.
    let is_result = config.param_offload == Offload::Disk && recipe.compute_dtype == config.save_dtype;
    // Each process of this machine has its own.
    let others = (processes.local as u64).saturating_sub(u64::from(is_result));
    let weights = if config.param_offload == Offload::Disk { computed.saturating_mul(others) } else { 0 };
    let kept = config.checkpoints_total_limit.map_or(1, |limit| limit as u64);
    let there = if config.output_dir.is_dir() { list(&config.output_dir)?.len() as u64 } else { 0 };
    let of = |step: usize| step / config.checkpointing_steps;
    let planned = of(steps.end).saturating_sub(of(steps.start)) as u64;
    // One more than are kept, for a moment.
    let written = (kept + 1).saturating_sub(there).max(1).min(planned);
    let checkpoints = checkpoint_bytes(recipe, parameters, config.save_dtype).saturating_mul(written);
    let scratch = config.scratch_folder().unwrap_or_default();
    let state = if config.optimizer_offload == Offload::Disk { state_bytes(recipe, parameters) } else { 0 };
    let gradients = if config.files_gradients() { gradient_bytes(recipe) as u64 } else { 0 };
    let pack = config.pack_folder().unwrap_or_default();
    let pack_bytes = pack_bytes(config, configs, rows);
    let output = &config.output_dir;
    let part = |name, setting, folder: &Path, bytes| DiskPart { name, setting, folder: folder.into(), bytes };
    let mut parts = vec![
        part("result", "output_dir", output, saved),
        part("weights", "output_dir", output, weights),
        part(CHECKPOINTS, "output_dir", output, checkpoints),
        part("optimizer", "scratch_dir", &scratch, state),
        part("gradients", "scratch_dir", &scratch, parameters.saturating_mul(gradients)),
        part("pack", "pack_dir", &pack, pack_bytes),
    ];
    parts.retain(|part| part.bytes > 0 && part.folder != Path::new(""));
    Ok(parts)
}

/// Whether a run that is asked to stop finds room for a checkpoint, beside all else that it writes.
pub(super) fn has_room_to_stop(config: &TrainConfig, parts: &[DiskPart], parameters: u64) -> bool {
    let mut parts = parts.to_vec();
    parts.retain(|part| part.name != CHECKPOINTS);
    let bytes = checkpoint_bytes(&config.recipe, parameters, config.save_dtype);
    parts.push(DiskPart { name: CHECKPOINTS, setting: "output_dir", folder: config.output_dir.clone(), bytes });
    check_disk(&parts).is_ok()
}

/// What pictures and control images still add to the pack.
fn pack_bytes(config: &TrainConfig, configs: &PipelineConfigs, rows: usize) -> u64 {
    let Some(pack) = config.pack_folder() else { return 0 };
    let packed = std::fs::metadata(pack.join("pack.bin")).map_or(0, |metadata| metadata.len());
    let side = u64::from(config.recipe.resolution) / configs.vae.scale_factor() as u64;
    let moments = 2 * configs.vae.latent_channels as u64 * side * side * size_of::<f32>() as u64;
    (2 * moments).saturating_mul(rows as u64).saturating_sub(packed)
}

/// Whether the pack seems to have all rows, so that no model will be needed to encode them.
pub(super) fn is_pack_complete(config: &TrainConfig, configs: &PipelineConfigs, rows: usize) -> bool {
    pack_bytes(config, configs, rows) == 0
}

/// Checks that all parts have room.
///
/// # Errors
/// Too little space; says how much is needed, and for what.
pub(super) fn check_disk(parts: &[DiskPart]) -> Result<()> {
    let places: Vec<&Path> = parts.iter().map(|part| existing(&part.folder)).collect();
    for (index, part) in parts.iter().enumerate() {
        // What is on the same disk shares its space.
        let disk = disk_of(places[index]);
        let beside = parts.iter().zip(&places).filter(|(_, place)| disk_of(place) == disk).map(|(part, _)| part);
        let beside: Vec<&DiskPart> = beside.collect();
        let needed = beside.iter().fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
        let available = fs4::available_space(places[index]).map_err(|error| fail(part, error))?;
        if available < needed {
            let list: Vec<String> = beside.iter().map(|part| format!("{} {}", part.name, part.bytes)).collect();
            let largest = beside.into_iter().max_by_key(|part| part.bytes).unwrap_or(part);
            let list = list.join(", ");
            return Err(fail(largest, format!("{needed} bytes are needed ({list}), {available} are free")));
        }
    }
    Ok(())
}

fn fail(part: &DiskPart, reason: impl std::fmt::Display) -> TrainError {
    TrainError::setting(part.setting, format!("{}: {reason}", part.folder.display()))
}

/// A folder that is there: some are made only when they are needed.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."))
}

/// What tells disks apart.
#[cfg(unix)]
fn disk_of(folder: &Path) -> Option<u64> {
    std::fs::metadata(folder).ok().map(|metadata| std::os::unix::fs::MetadataExt::dev(&metadata))
}

/// Elsewhere all folders are taken to be on one disk.
#[cfg(not(unix))]
fn disk_of(_: &Path) -> Option<u64> {
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let part = |name, setting, bytes| DiskPart { name, setting, folder: folder.path().join("absent"), bytes };
        check_disk(&[part("result", "output_dir", 1)]).expect("a byte");
        let parts = [part("result", "output_dir", 1 << 40), part("optimizer", "scratch_dir", u64::MAX)];
        let error = check_disk(&parts).expect_err("too much").to_string();
        assert!(error.starts_with("scratch_dir: ") && error.contains("are free"), "{error}");
        assert!(error.contains("(result 1099511627776, optimizer 18446744073709551615)"), "{error}");
    }

    #[test]
    fn checkpoints_hold_what_is_kept() {
        let recipe = Recipe::default();
        assert_eq!(checkpoint_bytes(&recipe, 10, ComputeDtype::Float32), 120);
        assert_eq!(checkpoint_bytes(&recipe, 10, ComputeDtype::BFloat16), 140);
        let small = Recipe { use_8bit_adam: true, stochastic_rounding: true, ..recipe };
        assert_eq!(checkpoint_bytes(&small, 256, ComputeDtype::BFloat16), 2 * 256 + 2 * (256 + 4));
    }
}

//! Checkpoints: `checkpoint-N` holds `transformer/` in diffusers layout, the optimiser's moments, a small state, and a
//! manifest with the hash of each file. It is written beside and renamed, so it is there whole or not at all; older
//! ones are removed only afterwards. No write holds more than one tensor in memory.

mod files;
mod manifest;
mod resume;
mod state;

use std::{
    fs,
    path::{Path, PathBuf},
};

use cogview4_model::{
    CogView4Transformer, ComputeDtype,
    files::{sync_folder, write_atomic},
    weights::{DIFFUSION_WEIGHTS, save_sources, save_tensors},
};

use self::{
    files::{MASTER, OPTIMIZER, step_of},
    manifest::Manifest,
};
use crate::{
    error::{Result, TrainError},
    optimizer::AdamW,
};

pub(crate) use files::list;
pub(crate) use resume::{Checkpoint, StoredState};
pub(crate) use state::{Machine, TrainState};

/// In front of the name of a checkpoint that is being written, and of one that is being replaced.
const TEMPORARY: &str = ".tmp-";
const REPLACED: &str = ".old-";
/// Characters that the name of a file has behind [`TEMPORARY`] while it is written.
const RANDOM: usize = 6;

/// Writes `checkpoint-N` and then removes the oldest others, so that at most `limit` are left.
pub(crate) fn write(
    output_dir: &Path,
    state: &TrainState,
    (model, save_dtype): (&CogView4Transformer, ComputeDtype),
    optimizer: &AdamW,
    limit: Option<usize>,
) -> Result<PathBuf> {
    let name = format!("checkpoint-{}", state.step);
    let target = output_dir.join(&name);
    let temporary = output_dir.join(format!("{TEMPORARY}{name}"));
    let fail = |error: std::io::Error| TrainError::checkpoint(&target, format!("cannot be written: {error}"));
    remove_if_there(&temporary).map_err(fail)?;
    if let Err(error) = write_files(&temporary, state, (model, save_dtype), optimizer) {
        // What caused it, a full disk for instance, is told; the half-written folder would only be in the way.
        let _ = remove_if_there(&temporary);
        return Err(error);
    }
    let replaced = output_dir.join(format!("{REPLACED}{name}"));
    if target.exists() {
        fs::rename(&target, &replaced).map_err(fail)?;
    }
    fs::rename(&temporary, &target).and_then(|()| sync_folder(output_dir)).map_err(fail)?;
    remove_if_there(&replaced).map_err(fail)?;
    if let Some(limit) = limit {
        // Never the one just written, whatever the steps of those that another run has left.
        let mut others = list(output_dir)?;
        others.retain(|(_, path)| *path != target);
        // What was made after this step belongs to a branch that was left, so it goes first.
        others.sort_by_key(|(step, _)| (*step <= state.step, *step));
        let surplus = (others.len() + 1).saturating_sub(limit);
        for (_, path) in others.drain(..surplus.min(others.len())) {
            fs::remove_dir_all(&path).map_err(TrainError::io(&path))?;
        }
    }
    Ok(target)
}

fn write_files(
    folder: &Path,
    state: &TrainState,
    (model, save_dtype): (&CogView4Transformer, ComputeDtype),
    optimizer: &AdamW,
) -> Result<()> {
    let transformer = folder.join("transformer");
    fs::create_dir_all(&transformer).map_err(TrainError::io(&transformer))?;
    model.save_config(&transformer)?;
    save_sources(optimizer.values(model, save_dtype.dtype()), &transformer, DIFFUSION_WEIGHTS)?;
    // What is saved in bfloat16 has its f32 values here, if there are any.
    let masters = if save_dtype == ComputeDtype::Float32 { Vec::new() } else { optimizer.masters(model) };
    let masters = masters.into_iter().map(|(key, source)| (format!("{MASTER}{key}"), source));
    save_tensors(&folder.join(OPTIMIZER), optimizer.tensors().into_iter().chain(masters))?;
    let text = serde_json::to_string_pretty(state).map_err(|error| TrainError::checkpoint(folder, error))?;
    write_atomic(&folder.join(state::STATE), text.as_bytes())?;
    // Each file is on the disk with its name when its write returns, and so is the folder of the one before.
    Manifest::write(folder)
}

/// Brings an output folder to order that a run has left in the middle of a write. Only for the run that has locked it.
pub(crate) fn tidy(output_dir: &Path) -> Result<()> {
    for entry in fs::read_dir(output_dir).map_err(TrainError::io(output_dir))? {
        let path = entry.map_err(TrainError::io(output_dir))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(replaced) = name.strip_prefix(REPLACED).filter(|name| step_of(name).is_some()) {
            let target = output_dir.join(replaced);
            match target.exists() {
                // Killed between the two renames: the old one is still the newest whole one.
                false => fs::rename(&path, &target),
                true => remove_if_there(&path),
            }
            .map_err(TrainError::io(&path))?;
        } else if name.strip_prefix(TEMPORARY).is_some_and(|name| step_of(name).is_some()) {
            remove_if_there(&path).map_err(TrainError::io(&path))?;
        } else if name.len() == TEMPORARY.len() + RANDOM && name.starts_with(TEMPORARY) && path.is_file() {
            // Weights of which only a part was written.
            fs::remove_file(&path).map_err(TrainError::io(&path))?;
        }
    }
    Ok(())
}

fn remove_if_there(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

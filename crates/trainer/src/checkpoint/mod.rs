//! Checkpoints: `checkpoint-N` holds `transformer/` in diffusers layout, the optimiser's moments, a small state, and a
//! manifest with the hash of each file. It is written beside and renamed, so it is there whole or not at all; older
//! ones are removed only afterwards. No write holds more than one tensor in memory.

mod files;
mod manifest;
mod resume;
mod snapshot;
mod state;
mod write;

use std::{fs, path::Path};

use self::files::{name_of, step_of};
use crate::error::{Result, TrainError};

pub(crate) use files::list;
pub(crate) use resume::{Checkpoint, StoredState};
pub(crate) use snapshot::Snapshot;
pub(crate) use state::{Machine, TrainState};
pub(crate) use write::Writer;

/// In front of the name of a checkpoint that is being written, and of one that is being replaced.
const TEMPORARY: &str = ".tmp-";
const REPLACED: &str = ".old-";
/// Characters that the name of a file has behind [`TEMPORARY`] while it is written.
const RANDOM: usize = 6;

/// Brings an output folder, with its folder of pictures, to order that a run has left in the middle of a write. Only for
/// the run that has locked it.
///
/// # Errors
/// A folder that cannot be written to, or a file that has the name of a checkpoint.
pub(crate) fn tidy(output_dir: &Path, pictures: &str) -> Result<()> {
    for entry in fs::read_dir(output_dir).map_err(TrainError::io(output_dir))? {
        let path = entry.map_err(TrainError::io(output_dir))?.path();
        let name = name_of(&path);
        if step_of(&name).is_some() && !path.is_dir() {
            return Err(TrainError::checkpoint(path, "is no folder, but has the name of a checkpoint: move it away"));
        }
        if let Some(replaced) = name.strip_prefix(REPLACED).filter(|name| step_of(name).is_some() && path.is_dir()) {
            let target = output_dir.join(replaced);
            match target.exists() {
                // Killed between the two renames: the old one is still the newest whole one.
                false => fs::rename(&path, &target),
                true => remove_if_there(&path),
            }
            .map_err(TrainError::io(&path))?;
        } else if name.strip_prefix(TEMPORARY).is_some_and(|name| name == write::RESULT || step_of(name).is_some()) {
            remove_if_there(&path).map_err(TrainError::io(&path))?;
        }
    }
    // Files of which only a part was written: weights, and pictures.
    remove_begun(output_dir)?;
    match output_dir.join(pictures) {
        pictures if pictures.is_dir() => remove_begun(&pictures),
        _ => Ok(()),
    }
}

/// Removes files that have their names only once they are complete.
fn remove_begun(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(TrainError::io(folder))? {
        let path = entry.map_err(TrainError::io(folder))?.path();
        let name = name_of(&path);
        if name.len() == TEMPORARY.len() + RANDOM && name.starts_with(TEMPORARY) && path.is_file() {
            fs::remove_file(&path).map_err(TrainError::io(&path))?;
        }
    }
    Ok(())
}

fn remove_if_there(folder: &Path) -> std::io::Result<()> {
    let removed = match fs::symlink_metadata(folder).is_ok_and(|found| !found.is_dir()) {
        true => fs::remove_file(folder),
        false => fs::remove_dir_all(folder),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

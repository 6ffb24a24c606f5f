//! What checkpoints and their files are called.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Result, TrainError};

pub(super) const OPTIMIZER: &str = "optimizer.safetensors";
/// In front of the key of an f32 value whose parameter is saved in bfloat16.
pub(super) const MASTER: &str = "master.";

/// All checkpoints, oldest first.
pub(crate) fn list(output_dir: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(output_dir).map_err(TrainError::io(output_dir))? {
        let path = entry.map_err(TrainError::io(output_dir))?.path();
        let step = step_of(&name_of(&path));
        found.extend(step.filter(|_| is_checkpoint(&path)).map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

/// Whether a folder holds what no folder of somebody else does; of a damaged checkpoint some may be gone.
fn is_checkpoint(folder: &Path) -> bool {
    [super::state::STATE, OPTIMIZER, super::manifest::MANIFEST].iter().any(|name| folder.join(name).is_file())
}

/// The last part of a path; what is no text in it is no name of ours.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The step of a checkpoint's name.
pub(super) fn step_of(name: &str) -> Option<usize> {
    name.strip_prefix("checkpoint-")?.parse().ok()
}

//! Which frozen model made a record: the hash of its files. A pack keeps the hashes of those that it was filled by, so
//! that their weights need not be there once it is complete.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use cogview4_control_pipeline::{Component, PipelineError, PipelineFolder};
use cogview4_data::PackKey;
use cogview4_model::files::write_atomic;

use crate::error::{Result, TrainError};

/// The file in a pack's folder.
const FILE: &str = "models.json";

/// By component: the hash of its configuration, and that of all its files.
type Known = BTreeMap<String, BTreeSet<(PackKey, PackKey)>>;

/// The hash of a component's configuration and weights; where the weights are not there, the one that the pack knows.
pub(super) fn hash(folder: &PipelineFolder, component: Component, pack: &Path) -> Result<PackKey> {
    let path = pack.join(FILE);
    let mut known = read(&path);
    let of_component = known.entry(component.name().into()).or_default();
    let config = hash_files(&[folder.config_path(component)])?;
    let files = files(&folder.component(component))?;
    if !files.iter().any(|path| path.extension().is_some_and(|end| end == "safetensors")) {
        let mut hashes = of_component.iter().filter(|(of_config, _)| *of_config == config);
        return match (hashes.next(), hashes.next()) {
            (Some((_, hash)), None) => Ok(hash.clone()),
            (found, _) => {
                let which = if found.is_some() { "several such models" } else { "no such model" };
                let reason = format!("no weights are there, and the pack {} knows {which}", pack.display());
                Err(PipelineError::Component { path: folder.component(component), reason }.into())
            }
        };
    }
    let hash = hash_files(&files)?;
    // The folder may hold several variants.
    let hash = match folder.variant_of(component) {
        Some(variant) => PackKey::new(&[hash.as_bytes(), variant.as_bytes()]),
        None => hash,
    };
    if of_component.insert((config, hash.clone())) {
        let text = serde_json::to_string_pretty(&known).expect("invariant: names and hashes");
        write_atomic(&path, text.as_bytes())?;
    }
    Ok(hash)
}

/// What is known; a file that cannot be read is made anew.
fn read(path: &Path) -> Known {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// The files of a component that matter, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(TrainError::io(folder))?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(TrainError::io(folder))?;
    let is_read = |end: &std::ffi::OsStr| end == "json" || end == "safetensors";
    files.retain(|path| path.is_file() && path.extension().is_some_and(is_read));
    files.sort();
    Ok(files)
}

fn hash_files(paths: &[PathBuf]) -> Result<PackKey> {
    let mut hashes = Vec::new();
    for path in paths {
        let mut hasher = blake3::Hasher::new();
        let file = File::open(path).map_err(TrainError::io(path))?;
        hasher.update_reader(file).map_err(TrainError::io(path))?;
        hashes.extend_from_slice(hasher.finalize().as_bytes());
    }
    Ok(PackKey::new(&[&hashes]))
}

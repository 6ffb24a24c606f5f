//! `manifest.json`: every file of a checkpoint with its size and hash. Written last, so a folder without it is no
//! checkpoint.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use cogview4_model::files::{MAX_CONFIG_BYTES, open_regular, read_text, write_atomic};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

pub(super) const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "cogview4-checkpoint";
const VERSION: u32 = 1;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: String,
    version: u32,
    /// By path in the checkpoint, with `/` between folders.
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    /// BLAKE3, in hexadecimal.
    hash: String,
}

impl Manifest {
    /// Lists a folder and writes its manifest.
    pub(super) fn write(folder: &Path) -> Result<()> {
        let mut files = BTreeMap::new();
        for name in names(folder)? {
            let path = folder.join(&name);
            let bytes = fs::metadata(&path).map_err(TrainError::io(&path))?.len();
            files.insert(name, Entry { bytes, hash: hash(&path)? });
        }
        let manifest = Self { format: FORMAT.into(), version: VERSION, files };
        let path = folder.join(MANIFEST);
        let text = serde_json::to_string_pretty(&manifest).map_err(|error| TrainError::checkpoint(&path, error))?;
        Ok(write_atomic(&path, text.as_bytes())?)
    }

    /// Reads the manifest of a folder; nothing where it has none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MANIFEST);
        let text = match read_text(&path, MAX_CONFIG_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(TrainError::io(path)(error)),
        };
        let manifest: Self = serde_json::from_str(&text).map_err(|error| TrainError::checkpoint(&path, error))?;
        if (manifest.format.as_str(), manifest.version) != (FORMAT, VERSION) {
            let found = format!("is a `{}` of version {}", manifest.format, manifest.version);
            return Err(TrainError::checkpoint(path, format!("{found}, expected a `{FORMAT}` of version {VERSION}")));
        }
        Ok(Some(manifest))
    }

    /// Compares every file of the folder with what was written.
    pub(super) fn verify(&self, folder: &Path) -> Result<()> {
        let there = names(folder)?;
        if let Some(absent) = self.files.keys().find(|name| !there.contains(name)) {
            return Err(TrainError::checkpoint(folder.join(absent), "is missing from the checkpoint"));
        }
        // What file managers and people leave beside is nobody's; what would be read as weights is.
        let is_read = |name: &&String| name.starts_with("transformer/") && name.ends_with(".safetensors");
        if let Some(added) = there.iter().filter(is_read).find(|name| !self.files.contains_key(*name)) {
            return Err(TrainError::checkpoint(folder.join(added), "was not written with this checkpoint"));
        }
        for (name, entry) in &self.files {
            let path = folder.join(name);
            let bytes = fs::metadata(&path).map_err(TrainError::io(&path))?.len();
            // A file that was cut off is told from its size, without reading it.
            if bytes != entry.bytes || hash(&path)? != entry.hash {
                return Err(TrainError::checkpoint(path, "is not the one that was written with this checkpoint"));
            }
        }
        Ok(())
    }

    /// Whether a checkpoint has no files but those that were written with it; so it is where nothing tells.
    pub(super) fn holds_nothing_else(folder: &Path) -> bool {
        match (Self::read(folder), names(folder)) {
            (Ok(Some(manifest)), Ok(names)) => names.iter().all(|name| manifest.files.contains_key(name)),
            _ => true,
        }
    }

    /// Removes the files that were written with a checkpoint, and leaves what somebody has put beside them.
    pub(super) fn remove_files(folder: &Path) -> Result<()> {
        let Some(manifest) = Self::read(folder)? else { return Ok(()) };
        // Only what lies in the folder: a manifest may name anything.
        let own = names(folder)?.into_iter().filter(|name| manifest.files.contains_key(name));
        // First what makes it a checkpoint.
        for name in [MANIFEST.to_owned()].into_iter().chain(own) {
            let path = folder.join(name);
            fs::remove_file(&path).map_err(TrainError::io(path))?;
        }
        // Only where it is empty now.
        let _ = fs::remove_dir(folder.join("transformer"));
        Ok(())
    }
}

/// Hash of a file, read in small parts.
fn hash(path: &Path) -> Result<String> {
    let file = open_regular(path).map_err(TrainError::io(path))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(TrainError::io(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// All files below a folder but the manifest, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inside) = folders.pop() {
        let here = folder.join(&inside);
        for entry in fs::read_dir(&here).map_err(TrainError::io(&here))? {
            let entry = entry.map_err(TrainError::io(&here))?;
            let name = inside.join(entry.file_name());
            if entry.file_type().map_err(TrainError::io(&here))?.is_dir() {
                folders.push(name);
            } else if name != Path::new(MANIFEST) {
                names.push(name.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/"));
            }
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("transformer")).expect("a folder");
        for name in ["state.json", "transformer/a.safetensors"] {
            fs::write(path(name), name).expect("a file");
        }
        assert!(Manifest::read(folder.path()).expect("none yet").is_none());
        Manifest::write(folder.path()).expect("written");
        let verify =
            || Manifest::read(folder.path()).and_then(|manifest| manifest.expect("there").verify(folder.path()));
        verify().expect("as written");
        for (name, change) in [
            ("transformer/a.safetensors", &b"transformer/a.safetensorz"[..]),
            ("transformer/a.safetensors", b""),
            ("transformer/b.safetensors", b"another"),
        ] {
            let before = fs::read(path(name)).ok();
            fs::write(path(name), change).expect("changed");
            let error = verify().expect_err("a change").to_string();
            assert!(error.contains(name), "{error}");
            match before {
                Some(bytes) => fs::write(path(name), bytes).expect("as it was"),
                None => fs::remove_file(path(name)).expect("gone again"),
            }
        }
        fs::remove_file(path("state.json")).expect("removed");
        assert!(verify().expect_err("a file is gone").to_string().contains("state.json"));
    }
}

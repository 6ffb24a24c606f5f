//! Records that were found damaged: noted beside the pack, so that whoever opens it next makes them anew.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
};

use cogview4_model::files::write_atomic;

use super::key::PackKey;

/// A key in JSON a line.
const DAMAGED: &str = "damaged.jsonl";

/// Notes a record. Where that fails, it is found damaged again.
pub(super) fn note(folder: &Path, key: &PackKey) {
    let file = OpenOptions::new().append(true).create(true).open(folder.join(DAMAGED));
    let _ = file.and_then(|mut file| file.write_all(line(key).as_bytes()));
}

/// Whether any was noted.
pub(super) fn is_noted(folder: &Path) -> bool {
    folder.join(DAMAGED).is_file()
}

/// Keeps the notes of these records only.
pub(super) fn keep(folder: &Path, keys: &BTreeSet<PackKey>) -> io::Result<()> {
    let path = folder.join(DAMAGED);
    if keys.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    write_atomic(&path, keys.iter().map(line).collect::<String>().as_bytes()).map_err(io::Error::other)
}

fn line(key: &PackKey) -> String {
    serde_json::to_string(key).expect("invariant: a key is text") + "\n"
}

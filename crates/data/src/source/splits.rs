//! Splits, where a data set's files are named by them. Only the files that hold rows are asked for a split: pictures
//! may be called anything.

use std::path::{Path, PathBuf};

const TRAIN: &[&str] = &["train"];
/// Splits to measure on; the first that is there is taken.
const HELD_OUT: [&[&str]; 2] = [&["val", "dev"], &["test", "eval"]];

/// The files to train on: those of the split `train`, or all where none is named so.
pub(super) fn of_training(root: &Path, files: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_train = |file: &PathBuf| is_in(root, file, TRAIN);
    if files.iter().any(is_train) { files.into_iter().filter(is_train).collect() } else { files }
}

/// The files of each split that is not trained on, where there is a split `train` beside them; none of them is empty.
pub(super) fn held_out(root: &Path, files: &[PathBuf]) -> Vec<Vec<PathBuf>> {
    let (train, others): (Vec<&PathBuf>, Vec<_>) = files.iter().partition(|file| is_in(root, file, TRAIN));
    if train.is_empty() {
        return Vec::new();
    }
    let of = |names| others.iter().filter(|file| is_in(root, file, names)).map(|&file| file.clone()).collect();
    HELD_OUT.map(of).into_iter().filter(|split: &Vec<PathBuf>| !split.is_empty()).collect()
}

/// Whether a file is named by a split, by its own name or a folder's: a name that begins as one of `names`.
fn is_in(root: &Path, file: &Path, names: &[&str]) -> bool {
    let inside = file.strip_prefix(root).unwrap_or(file);
    inside.iter().any(|part| names.iter().any(|name| part.to_string_lossy().starts_with(name)))
}

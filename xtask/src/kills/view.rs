//! A look at the folder of a run, short enough to be taken every millisecond. The run may change it meanwhile: what is
//! gone when it is looked at counts as not there.

use std::{fs, path::Path};

use serde_json::Value;

use super::{OUTPUT, PACK, disk};

/// What can be seen.
#[derive(Debug, Default, Clone)]
pub(super) struct View {
    /// Length of the pack's values.
    pub pack_bytes: u64,
    /// Which file `metrics.jsonl` is.
    pub metrics: Option<String>,
    /// The last step of `metrics.jsonl`.
    pub steps: usize,
    /// The steps of `validation.jsonl`.
    pub validated: Vec<usize>,
    /// The steps of checkpoints that are complete.
    pub checkpoints: Vec<usize>,
    /// Which folders are there of checkpoints that are written, replaced or removed.
    pub half_checkpoints: Vec<String>,
}

impl View {
    pub(super) fn of(run: &Path) -> Self {
        let out = run.join(OUTPUT);
        let mut view = Self {
            pack_bytes: disk::length(&run.join(PACK).join("pack.bin")),
            metrics: fs::metadata(out.join("metrics.jsonl")).ok().map(|found| disk::key(&found)),
            steps: steps(&out.join("metrics.jsonl")).last().copied().unwrap_or_default(),
            validated: steps(&out.join("validation.jsonl")),
            ..Self::default()
        };
        for entry in fs::read_dir(&out).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_hidden = [".tmp-checkpoint-", ".old-checkpoint-"].iter().any(|start| name.starts_with(start));
            match step_of(&name) {
                Some(step) if entry.path().join("manifest.json").exists() => view.checkpoints.push(step),
                None if !is_hidden => {}
                _ => {
                    let key = entry.metadata().ok().map(|found| disk::key(&found));
                    view.half_checkpoints.extend(key.map(|key| format!("{key} {name}")));
                }
            }
        }
        view
    }

    /// The newest checkpoint that is complete.
    pub(super) fn newest(&self) -> Option<usize> {
        self.checkpoints.iter().copied().max()
    }
}

/// The step of a checkpoint's name.
pub(super) fn step_of(name: &str) -> Option<usize> {
    name.strip_prefix("checkpoint-")?.parse().ok()
}

/// The steps of the whole lines of a file.
fn steps(path: &Path) -> Vec<usize> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["step"].as_u64()? as usize)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_seen_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let empty = View::of(folder.path());
        assert_eq!((empty.steps, empty.newest(), empty.metrics), (0, None, None));
        let out = folder.path().join(OUTPUT);
        for inside in ["checkpoint-3", "checkpoint-12", ".tmp-checkpoint-15", "checkpoint-x", "validation"] {
            fs::create_dir_all(out.join(inside)).unwrap();
        }
        fs::create_dir(folder.path().join(PACK)).unwrap();
        fs::write(folder.path().join(PACK).join("pack.bin"), "12345").unwrap();
        fs::write(out.join("checkpoint-12/manifest.json"), "{}").unwrap();
        fs::write(out.join("metrics.jsonl"), "{\"step\":1}\n{\"step\":2}\n{\"step\":3").unwrap();
        fs::write(out.join("validation.jsonl"), "{\"step\":0}\n").unwrap();
        let view = View::of(folder.path());
        assert_eq!((view.pack_bytes, view.steps, view.newest()), (5, 2, Some(12)));
        assert_eq!((view.validated.as_slice(), view.checkpoints.as_slice()), (&[0][..], &[12][..]));
        let mut half: Vec<_> = view.half_checkpoints.iter().filter_map(|half| half.split(' ').next_back()).collect();
        half.sort_unstable();
        assert_eq!(half, [".tmp-checkpoint-15", "checkpoint-3"]);
    }
}

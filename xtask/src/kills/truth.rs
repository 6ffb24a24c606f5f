//! What a run comes to that nobody kills, and how another one differs from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    CADENCE, OUTPUT, PACK,
    disk::{Disk, Key},
    view::step_of,
};

/// What the result consists of.
const RESULT: [&str; 2] = ["diffusion_pytorch_model.safetensors", "config.json"];
/// Files of lines, and how their fields end that no two runs have in common.
const LINES: [&str; 2] = ["metrics.jsonl", "validation.jsonl"];
const MEASURED: [&str; 3] = ["seconds", "per_second", "_bytes"];

/// What a whole run has written.
pub(super) struct Truth {
    /// The output folder, by path: all checkpoints, the result, the pictures, the lines.
    files: BTreeMap<String, Vec<u8>>,
    /// How long it took.
    pub took: Duration,
    /// Length of the pack's values.
    pub pack_bytes: u64,
}

impl Truth {
    /// Reads what is in the run's folder.
    pub(super) fn read(run: &Path, took: Duration) -> Result<Self> {
        let disk = Disk::of(run)?;
        let folder = |name: &str| {
            let entry = disk.at(name).with_context(|| format!("the run made no `{name}`"))?;
            Ok::<_, anyhow::Error>(disk.below(&entry.key))
        };
        let pack_bytes = folder(PACK)?.get("pack.bin").map_or(0, |values| values.len() as u64);
        let files = folder(OUTPUT)?.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
        let truth = Self { files, took, pack_bytes };
        for step in (CADENCE.checkpoints..=CADENCE.steps).step_by(CADENCE.checkpoints) {
            ensure!(truth.checkpoint(step).contains_key("manifest.json"), "the run made no checkpoint-{step}");
        }
        Ok(truth)
    }

    /// The files of a checkpoint.
    fn checkpoint(&self, step: usize) -> BTreeMap<String, &[u8]> {
        let start = format!("checkpoint-{step}/");
        let inside = self.files.iter().filter_map(|(name, bytes)| Some((name.strip_prefix(&start)?, bytes)));
        inside.map(|(name, bytes)| (name.to_string(), bytes.as_slice())).collect()
    }

    /// What a checkpoint in this output folder lacks to be as it should.
    pub(super) fn why_not_whole(&self, out: &Path, step: usize) -> Result<Option<String>> {
        let folder = out.join(format!("checkpoint-{step}"));
        if !folder.is_dir() {
            return Ok(Some(if out.is_dir() { "is gone" } else { "is gone with the output folder" }.into()));
        }
        let disk = Disk::of(&folder)?;
        let (expected, found) = (self.checkpoint(step), disk.below(&disk.root));
        let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        let wrong = |name: &&&String| expected.get(**name) != found.get(**name);
        Ok(names.iter().find(wrong).map(|name| match (expected.get(*name), found.get(*name)) {
            (_, None) => format!("{name} is missing"),
            (None, _) => format!("{name} does not belong to it"),
            (Some(expected), Some(found)) => {
                format!("{name} is not as it was: {} of {} bytes", found.len(), expected.len())
            }
        }))
    }

    /// The newest checkpoint in this output folder that is as it should be.
    pub(super) fn newest_whole(&self, out: &Path) -> Result<Option<usize>> {
        let mut newest = None;
        for entry in fs::read_dir(out).into_iter().flatten() {
            let name = entry.with_context(|| format!("reading {}", out.display()))?.file_name();
            if let Some(step) = step_of(&name.to_string_lossy())
                && self.why_not_whole(out, step)?.is_none()
            {
                newest = newest.max(Some(step));
            }
        }
        Ok(newest)
    }

    /// The newest checkpoint whose name is durable in the output folder, given the folder of the run as it was at
    /// first, as far as it is durable, and at last. One that was there at first and no longer whole is not meant.
    pub(super) fn durable(&self, before: &Disk, durable: &Disk, now: &Disk) -> Option<usize> {
        let out = now.at(OUTPUT).or(durable.at(OUTPUT))?;
        let was_whole = |step: usize, key: &Key| before.below(key) == self.checkpoint(step);
        let listing = durable.folders.get(&out.key)?.iter();
        let steps = listing.filter_map(|(name, entry)| {
            let step = step_of(name)?;
            let is_new = !before.folders.contains_key(&entry.key);
            (is_new || was_whole(step, &entry.key)).then_some(step)
        });
        steps.max()
    }

    /// In what a run that has come to its end differs: files, lines, and what nobody has cleared away.
    pub(super) fn differences(&self, run: &Path) -> Result<Vec<String>> {
        let disk = Disk::of(run)?;
        let found = disk.at(OUTPUT).map(|entry| disk.below(&entry.key)).unwrap_or_default();
        let last = format!("checkpoint-{}/", CADENCE.steps);
        let counts = |name: &str| {
            let is_compared = RESULT.contains(&name) || name.starts_with(&last) || name.starts_with("validation/");
            is_compared && left_over(name).is_none()
        };
        let names: BTreeSet<_> = self.files.keys().chain(found.keys()).filter(|name| counts(name)).collect();
        let differs = |name: &&String| self.files.get(*name).map(Vec::as_slice) != found.get(*name).copied();
        let mut differences: Vec<_> = names.into_iter().filter(differs).cloned().collect();
        for name in LINES {
            let expected = lines(self.files.get(name).map(Vec::as_slice))?;
            let has = lines(found.get(name).copied())?;
            if expected != has {
                let same = has.iter().filter(|line| expected.contains(line)).count();
                differences.push(format!(
                    "{name}: {same} of {} lines, and {} others",
                    expected.len(),
                    has.len() - same
                ));
            }
        }
        let left: BTreeSet<_> = found.keys().filter_map(|name| left_over(name)).collect();
        differences.extend(left.into_iter().map(|name| format!("{name} is left over")));
        Ok(differences)
    }
}

/// The name of what was to be renamed or removed, without the part that chance gave it.
fn left_over(name: &str) -> Option<String> {
    let start = name.find(".tmp-").or_else(|| name.find(".old-"))?;
    Some(format!("{}*", &name[..start + ".tmp-".len()]))
}

/// The lines of a file without what depends on the clock and the machine.
fn lines(bytes: Option<&[u8]>) -> Result<Vec<Value>> {
    let text = String::from_utf8_lossy(bytes.unwrap_or_default());
    let strip = |line: &str| {
        let mut value: Value = serde_json::from_str(line).with_context(|| format!("not a line of JSON: {line}"))?;
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|name, _| !MEASURED.iter().any(|end| name.ends_with(end)));
        }
        Ok(value)
    };
    text.lines().map(strip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run's folder whose checkpoints hold their own step.
    fn run(steps: &[usize]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join(OUTPUT);
        for step in steps {
            let checkpoint = out.join(format!("checkpoint-{step}/transformer"));
            fs::create_dir_all(&checkpoint).unwrap();
            fs::write(checkpoint.join("weights"), step.to_string()).unwrap();
            fs::write(out.join(format!("checkpoint-{step}/manifest.json")), "{}").unwrap();
        }
        fs::create_dir(folder.path().join(PACK)).unwrap();
        fs::write(out.join("config.json"), "{}").unwrap();
        fs::write(out.join("metrics.jsonl"), "{\"step\":1,\"data_seconds\":0.5,\"peak_memory_bytes\":7}\n").unwrap();
        folder
    }

    fn truth() -> Truth {
        Truth::read(run(&[3, 6, 9, 12]).path(), Duration::ZERO).unwrap()
    }

    #[test]
    fn differences_are_named() {
        let (truth, other) = (truth(), run(&[9, 12]));
        assert!(truth.differences(other.path()).unwrap().is_empty());
        let out = other.path().join(OUTPUT);
        fs::write(out.join("metrics.jsonl"), "{\"step\":1,\"data_seconds\":0.6,\"peak_memory_bytes\":8}\n").unwrap();
        assert!(truth.differences(other.path()).unwrap().is_empty());
        fs::write(out.join("metrics.jsonl"), "").unwrap();
        fs::write(out.join("config.json"), "").unwrap();
        fs::create_dir(out.join("validation")).unwrap();
        for left in [".tmp-abcdef", ".tmp-ghijkl", "validation/.tmp-mnopqr"] {
            fs::write(out.join(left), "").unwrap();
        }
        fs::remove_file(out.join("checkpoint-12/transformer/weights")).unwrap();
        assert_eq!(
            truth.differences(other.path()).unwrap(),
            [
                "checkpoint-12/transformer/weights",
                "config.json",
                "metrics.jsonl: 0 of 1 lines, and 0 others",
                ".tmp-* is left over",
                "validation/.tmp-* is left over"
            ]
        );
    }

    #[test]
    fn checkpoints_are_whole_or_not() {
        let (truth, other) = (truth(), run(&[3, 6, 9]));
        let out = other.path().join(OUTPUT);
        assert_eq!(truth.newest_whole(&out).unwrap(), Some(9));
        let reason = |step| truth.why_not_whole(&out, step).unwrap();
        fs::write(out.join("checkpoint-9/transformer/weights"), "").unwrap();
        assert_eq!(reason(9).unwrap(), "transformer/weights is not as it was: 0 of 1 bytes");
        fs::remove_file(out.join("checkpoint-6/manifest.json")).unwrap();
        assert_eq!(reason(6).unwrap(), "manifest.json is missing");
        assert_eq!((reason(3), reason(12).unwrap().as_str()), (None, "is gone"));
        assert_eq!(truth.newest_whole(&out).unwrap(), Some(3));
    }

    #[test]
    fn only_what_was_whole_and_has_a_durable_name_is_promised() {
        let (truth, first) = (truth(), run(&[3, 6]));
        fs::remove_file(first.path().join(OUTPUT).join("checkpoint-6/manifest.json")).unwrap();
        let before = Disk::of(first.path()).unwrap();
        assert_eq!(truth.durable(&before, &before, &before), Some(3));
        let written = first.path().join(OUTPUT).join("checkpoint-9");
        fs::create_dir(written).unwrap();
        let now = Disk::of(first.path()).unwrap();
        assert_eq!(truth.durable(&before, &before, &now), Some(3));
        assert_eq!(truth.durable(&before, &now, &now), Some(9));
        assert_eq!(truth.durable(&Disk::default(), &Disk::default(), &Disk::default()), None);
    }
}

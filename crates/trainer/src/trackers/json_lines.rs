//! `metrics.jsonl` and `validation.jsonl`: one object a step.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use cogview4_model::files::{MAX_TABLE_BYTES, read_text, write_atomic};
use serde::{Serialize, de::DeserializeOwned};

use super::tracker::Tracker;
use crate::{
    error::{Result, TrainError},
    metrics::{StepMetrics, Validation},
};

/// What is written of a step.
trait Line: Serialize + DeserializeOwned {
    fn step(&self) -> usize;
}

impl Line for StepMetrics {
    fn step(&self) -> usize {
        self.step
    }
}

impl Line for Validation {
    fn step(&self) -> usize {
        self.step
    }
}

/// The files of a run.
#[derive(Debug)]
pub(crate) struct JsonLines {
    metrics: LineFile,
    validations: LineFile,
}

/// What an earlier part of the run has measured.
pub(crate) struct Earlier {
    pub metrics: Vec<StepMetrics>,
    pub validations: Vec<Validation>,
}

impl JsonLines {
    /// Opens the files in `output_dir` for a run that has made `steps` steps, and gives what they hold of them.
    pub(crate) fn open(output_dir: &Path, steps: usize) -> Result<(Self, Earlier)> {
        let (metrics, earlier_metrics) = LineFile::open(&output_dir.join("metrics.jsonl"), steps)?;
        let (validations, earlier_validations) = LineFile::open(&output_dir.join("validation.jsonl"), steps)?;
        let earlier = Earlier { metrics: earlier_metrics, validations: earlier_validations };
        Ok((Self { metrics, validations }, earlier))
    }
}

/// What the files in `output_dir` hold.
pub(crate) fn read(output_dir: &Path) -> Result<Earlier> {
    let metrics = parse(&text(&output_dir.join("metrics.jsonl"))?).map(|(_, value)| value).collect();
    let validations = parse(&text(&output_dir.join("validation.jsonl"))?).map(|(_, value)| value).collect();
    Ok(Earlier { metrics, validations })
}

/// Checks that files of these names are of a run: one of somebody else would be emptied.
pub(crate) fn check(output_dir: &Path) -> Result<()> {
    fn check<T: Line>(path: PathBuf) -> Result<()> {
        let text = text(&path)?;
        match text.trim().is_empty() || parse::<T>(&text).next().is_some() || !text.contains('\n') && is_begun(&text) {
            true => Ok(()),
            false => Err(TrainError::checkpoint(path, "is no file of a run, and would be replaced: move it away")),
        }
    }
    check::<StepMetrics>(output_dir.join("metrics.jsonl"))?;
    check::<Validation>(output_dir.join("validation.jsonl"))
}

/// Whether a text may be the first line of a run that was ended in the middle of writing it.
fn is_begun(text: &str) -> bool {
    const BEGIN: &str = "{\"step\":";
    text.starts_with(BEGIN) || BEGIN.starts_with(text)
}

impl Tracker for JsonLines {
    fn step(&mut self, metrics: &StepMetrics) -> Result<()> {
        self.metrics.append(metrics)
    }

    fn validation(&mut self, validation: &Validation) -> Result<()> {
        self.validations.append(validation)
    }

    fn sync(&mut self) -> Result<()> {
        [&self.metrics, &self.validations]
            .into_iter()
            .try_for_each(|lines| lines.file.sync_data().map_err(TrainError::io(&lines.path)))
    }
}

/// One file, open for appending.
#[derive(Debug)]
struct LineFile {
    path: PathBuf,
    file: File,
}

impl LineFile {
    /// Opens the file for a run that has made `steps` steps, and gives what it holds of them; lines of later steps are
    /// dropped, and all lines where the run begins anew.
    fn open<T: Line>(path: &Path, steps: usize) -> Result<(Self, Vec<T>)> {
        let (mut kept, mut values) = (String::new(), Vec::new());
        for (line, value) in parse::<T>(&text(path)?).filter(|(_, value)| steps > 0 && value.step() <= steps) {
            kept.push_str(line);
            values.push(value);
        }
        write_atomic(path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(TrainError::io(path))?;
        Ok((Self { path: path.into(), file }, values))
    }

    /// Appends a step.
    fn append<T: Line>(&mut self, value: &T) -> Result<()> {
        let mut line = serde_json::to_vec(value).map_err(|error| TrainError::checkpoint(&self.path, error))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(TrainError::io(&self.path))
    }
}

/// Nothing where there is no file.
fn text(path: &Path) -> Result<String> {
    match read_text(path, MAX_TABLE_BYTES) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(TrainError::io(path)(error)),
    }
}

/// The lines that are whole, with what they hold.
fn parse<T: Line>(text: &str) -> impl Iterator<Item = (&str, T)> {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.filter_map(|line| Some((line, serde_json::from_str(line).ok()?)))
}

//! `metrics.jsonl`: one object a step.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use cogview4_model::files::write_atomic;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// What is written of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepMetrics {
    /// The step, the first is 1.
    pub step: usize,
    /// Mean loss of the step's samples.
    pub loss: f64,
    /// Learning rate used in this step.
    pub lr: f64,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Samples of this step over the time it took.
    pub samples_per_second: f64,
    /// The most memory that the process has held.
    pub peak_memory_bytes: u64,
}

/// The file, open for appending.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the file for a run that has made `steps` steps; lines of later steps are dropped.
    pub(crate) fn open(folder: &Path, steps: usize) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let fail = |error: std::io::Error| TrainError::checkpoint(&path, error);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(fail(error)),
        };
        let is_kept =
            |line: &&str| serde_json::from_str::<StepMetrics>(line).is_ok_and(|metrics| metrics.step <= steps);
        let kept: String = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).filter(is_kept).collect();
        write_atomic(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(fail)?;
        Ok(Self { path, file })
    }

    /// Appends a step.
    pub(crate) fn append(&mut self, metrics: &StepMetrics) -> Result<()> {
        let line = serde_json::to_string(metrics).map_err(|error| TrainError::checkpoint(&self.path, error))?;
        writeln!(self.file, "{line}").map_err(|error| TrainError::checkpoint(&self.path, error))
    }
}

/// The most memory that this process has held; 0 where the system does not tell.
pub(crate) fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

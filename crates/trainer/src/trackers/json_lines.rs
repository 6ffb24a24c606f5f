//! `metrics.jsonl` and `validation.jsonl`: one object a step.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use cogview4_model::files::write_atomic;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Result, TrainError},
    run::callbacks::StepMetrics,
    validation::Validation,
};

/// What is written of a step.
pub(crate) trait Line: Serialize + DeserializeOwned {
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

/// The file, open for appending.
#[derive(Debug)]
pub(crate) struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens the file for a run that has made `steps` steps, and gives what it holds of them; lines of later steps are
    /// dropped, and all lines where the run begins anew.
    pub(crate) fn open<T: Line>(path: &Path, steps: usize) -> Result<(Self, Vec<T>)> {
        let fail = |error: std::io::Error| TrainError::checkpoint(path, error);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(fail(error)),
        };
        let (mut kept, mut values) = (String::new(), Vec::new());
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            if let Some(value) = serde_json::from_str::<T>(line).ok().filter(|value| steps > 0 && value.step() <= steps)
            {
                kept.push_str(line);
                values.push(value);
            }
        }
        write_atomic(path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        Ok((Self { path: path.into(), file }, values))
    }

    /// Appends a step.
    pub(crate) fn append<T: Line>(&mut self, value: &T) -> Result<()> {
        let mut line = serde_json::to_vec(value).map_err(|error| TrainError::checkpoint(&self.path, error))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| TrainError::checkpoint(&self.path, error))
    }
}

//! Where rows come from, as the command line says it.

use std::path::PathBuf;

use cogview4_data::{Columns, Dataset, TrainData, first_rows, open_dataset, open_held_out, open_jsonl};

use crate::error::{Result, TrainError};

/// A data set that is not opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataConfig {
    /// Where rows come from.
    pub source: DataSource,
    /// Names of the columns.
    pub columns: Columns,
    /// Only the first rows, this many.
    pub max_train_samples: Option<usize>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// `--dataset_name`: a parquet file or a folder.
    Dataset(PathBuf),
    /// `--jsonl_for_train`: a file with one JSON object a line.
    Jsonl(PathBuf),
}

impl DataConfig {
    /// Opens the rows to train on, and a validation or test split beside them. A split that cannot be read is left out,
    /// and the report says so: it would only be measured on.
    ///
    /// # Errors
    /// No data set, a broken one, or one without rows.
    pub fn open(&self) -> Result<TrainData> {
        let (name, mut train, held_out) = match &self.source {
            DataSource::Dataset(path) => {
                let held_out = open_held_out(path, &self.columns);
                ("dataset_name", open_dataset(path, &self.columns)?, held_out)
            }
            DataSource::Jsonl(path) => ("jsonl_for_train", open_jsonl(path, &self.columns)?, Ok(None)),
        };
        if train.is_empty() {
            return Err(TrainError::setting(name, "the data set has no rows"));
        }
        if let Some(rows) = self.max_train_samples {
            train = first_rows(train, rows);
        }
        let (held_out, held_out_error) = match held_out {
            Ok(held_out) => (held_out, None),
            Err(error) => (None, Some(error.to_string())),
        };
        Ok(TrainData { train, held_out, held_out_error })
    }
}

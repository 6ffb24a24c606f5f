//! Where rows come from, as the command line says it.

use std::path::PathBuf;

use cogview4_data::{Columns, Dataset, DatasetOptions, TrainData, first_rows, open_jsonl, open_source};
use cogview4_hub::{Hub, Source};

use crate::{
    error::{Result, TrainError},
    validation::Probe,
};

/// A data set that is not opened yet.
#[derive(Debug, Clone)]
pub struct DataConfig {
    /// Where rows come from.
    pub source: DataSource,
    /// The Hub that names are of.
    pub hub: Hub,
    /// Names of the columns.
    pub columns: Columns,
    /// Only the first rows, this many.
    pub max_train_samples: Option<usize>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// `--dataset_name`: a parquet file, a folder or a name on the Hub, and `--dataset_config_name`.
    Dataset {
        /// The file, folder or name.
        source: Source,
        /// The configuration, of those that it has.
        config_name: Option<String>,
    },
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
        let (name, data) = match &self.source {
            DataSource::Dataset { source, config_name } => {
                let options = DatasetOptions {
                    config_name: config_name.as_deref(),
                    max_rows: self.max_train_samples,
                    max_held_out_rows: Some(Probe::MAX_ROWS),
                };
                ("dataset_name", open_source(source, &self.hub, options, &self.columns)?)
            }
            DataSource::Jsonl(path) => {
                let rows = open_jsonl(path, &self.columns)?;
                let train = first_rows(rows, self.max_train_samples.unwrap_or(usize::MAX));
                ("jsonl_for_train", TrainData { train, held_out: None, held_out_error: None })
            }
        };
        match data.train.is_empty() {
            true => Err(TrainError::setting(name, "the data set has no rows")),
            false => Ok(data),
        }
    }
}

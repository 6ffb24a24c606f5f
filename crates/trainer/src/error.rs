//! What can go wrong in this crate. Every message is one line that names the culprit.

use std::path::{Path, PathBuf};

use cogview4_control_pipeline::PipelineError;
use cogview4_data::DataError;
use cogview4_model::ModelError;

/// Result of this crate.
pub type Result<T, E = TrainError> = core::result::Result<T, E>;

/// Errors of `cogview4-trainer`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A model's file, weights or input is at fault.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The pipeline's folder or a prompt is at fault.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The data set is at fault.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A flag is out of range, does not fit another, or is not available.
    #[error("{flag}: {reason}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The run was asked to stop before training began.
    #[error("stopped")]
    Stopped,
    /// A checkpoint is broken, or of another run.
    #[error("{path}: {reason}", path = path.display())]
    Checkpoint {
        /// The checkpoint's folder or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl TrainError {
    pub(crate) fn flag(flag: &'static str, reason: impl Into<String>) -> Self {
        Self::Flag { flag, reason: reason.into() }
    }

    /// Makes a folder that a flag names, unless it is there.
    pub(crate) fn make_folder(flag: &'static str, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|error| Self::flag(flag, format!("{}: {error}", folder.display())))
    }

    pub(crate) fn checkpoint(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Checkpoint { path: path.into(), reason: reason.to_string() }
    }
}

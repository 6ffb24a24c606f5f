//! What can go wrong in this crate. Every message is one line that names file, row or column.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = DataError> = core::result::Result<T, E>;

/// Errors of `cogview4-data`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder cannot be read, or is not what is needed.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A row is broken.
    #[error("{path}, row {row}: {reason}", path = path.display())]
    Row {
        /// The file that holds the row.
        path: PathBuf,
        /// Number of the row in that file, the first is 1.
        row: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A column that was asked for is not there.
    #[error("{setting}: the data set has no column `{column}`, its columns are: {available}")]
    Column {
        /// The setting that asks for the column, such as `image_column`.
        setting: &'static str,
        /// The column asked for.
        column: String,
        /// The columns that are there.
        available: String,
    },
    /// A setting does not fit the data set.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting, such as `dataset_config_name`.
        setting: &'static str,
        /// What is wrong with it, and what would fit.
        reason: String,
    },
    /// The Hub does not give the data set, or its cache does not hold it.
    #[error(transparent)]
    Hub(#[from] cogview4_hub::HubError),
    /// A file that cannot be written.
    #[error(transparent)]
    Write(#[from] cogview4_model::ModelError),
}

impl DataError {
    pub(crate) fn file(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::File { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn row(path: impl Into<PathBuf>, row: usize, reason: impl ToString) -> Self {
        Self::Row { path: path.into(), row, reason: reason.to_string() }
    }

    /// The same error of a file in this folder; an empty path is the folder itself.
    pub(crate) fn inside(self, folder: &Path) -> Self {
        match self {
            Self::File { path, reason } if path.as_os_str().is_empty() => Self::File { path: folder.into(), reason },
            Self::File { path, reason } => Self::File { path: folder.join(path), reason },
            other => other,
        }
    }
}

/// What is wrong with a picture; who knows its row or file says where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PictureError {
    reason: String,
}

impl PictureError {
    /// A picture that cannot be read or decoded, and why.
    pub fn new(reason: impl ToString) -> Self {
        Self { reason: reason.to_string() }
    }
}

//! What can go wrong in this crate, grouped by who must act. Every message is one line that names the culprit.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = ModelError> = core::result::Result<T, E>;

/// Errors of `cogview4-model`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A value given by the caller is out of range.
    #[error("{what}: {reason}")]
    BadInput {
        /// The value at fault, as the caller knows it.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A device that is not known, or not part of this build.
    #[error("device `{name}`: {reason}")]
    Device {
        /// The device as given.
        name: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer. No source: its message is in this one.
        cause: std::io::Error,
    },
    /// A configuration file is broken.
    #[error("{path}: {reason}", path = path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A weight file is broken, or none is there.
    #[error("{path}: {reason}", path = path.display())]
    WeightFile {
        /// The file, or the folder that should hold it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Tensors that the model needs are not in the files, or the files hold tensors that the model does not know.
    #[error("{path}: {}", key_report(missing, unexpected), path = path.display())]
    Keys {
        /// The folder of the component.
        path: PathBuf,
        /// Keys that the model needs and the files lack.
        missing: Vec<String>,
        /// Keys that the files hold and the model does not know.
        unexpected: Vec<String>,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {reason}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{path}: `{key}` has shape {found:?}, but the configuration asks for {expected:?}", path = path.display())]
    ShapeMismatch {
        /// The weight file.
        path: PathBuf,
        /// The tensor's key.
        key: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
}

impl ModelError {
    pub(crate) fn bad_input(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadInput { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |cause| Self::Io { path, cause }
    }

    pub(crate) fn config(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Config { path: path.into(), reason: reason.into() }
    }

    pub(crate) fn write(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Write { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn weight_file(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::WeightFile { path: path.into(), reason: reason.into() }
    }
}

fn key_report(missing: &[String], unexpected: &[String]) -> String {
    let list = |what: &str, keys: &[String]| match keys {
        [] => None,
        [key] => Some(format!("{what} key `{key}`")),
        [key, ..] => Some(format!("{what} keys `{key}` and {} more", keys.len() - 1)),
    };
    let parts: Vec<_> = [list("missing", missing), list("unexpected", unexpected)].into_iter().flatten().collect();
    parts.join("; ")
}

//! What can go wrong in this crate. Every message is one line that names the culprit.

use std::path::PathBuf;

use cogview4_hub::HubError;
use cogview4_model::ModelError;

/// Result of this crate.
pub type Result<T, E = PipelineError> = core::result::Result<T, E>;

/// Errors of `cogview4-control-pipeline`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A component's file, weights or input is at fault.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A name that is on the Hub, or should be. No source: its message is in this one.
    #[error("{0} (there is no folder of this name)")]
    Hub(HubError),
    /// A value of the request is out of range, or does not fit the models.
    #[error("{what}: {reason}")]
    BadInput {
        /// The value at fault, as the caller knows it.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Values that are no finite numbers: weights that are broken, or settings that are out of all measure.
    #[error("{what}: some values are not finite numbers: are the weights whole, and of this type?")]
    NotFinite {
        /// Of what the values are.
        what: &'static str,
    },
    /// The pipeline's folder, or a component in it, is not what is needed.
    #[error("{path}: {reason}", path = path.display())]
    Component {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Memory does not suffice, or a budget is exceeded; says what takes how much.
    #[error("{0}")]
    Memory(String),
    /// An image cannot be read or written.
    #[error("image {location}: {reason}")]
    Image {
        /// Path or URL.
        location: String,
        /// Why not.
        reason: String,
    },
}

impl From<HubError> for PipelineError {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl PipelineError {
    pub(crate) fn bad_input(what: &'static str, reason: impl Into<String>) -> Self {
        Self::BadInput { what, reason: reason.into() }
    }

    pub(crate) fn component(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Component { path: path.into(), reason: reason.into() }
    }
}

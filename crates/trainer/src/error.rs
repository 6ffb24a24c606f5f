//! What can go wrong in this crate. Every message is one line that names the culprit.

use std::path::{Path, PathBuf};

use cogview4_control_pipeline::PipelineError;
use cogview4_data::DataError;
use cogview4_hub::HubError;
use cogview4_model::{ModelError, files::sync_folder};

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
    /// The Hub refuses something, or fails.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A setting is out of range, does not fit another, or is not available. The command line's flag has the same name.
    #[error("{name}: {reason}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint is broken.
    #[error("{path}: {reason}", path = path.display())]
    Checkpoint {
        /// The checkpoint's folder or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint is of a run with other settings or data.
    #[error("{path}: {difference}: `allow_config_change` resumes all the same", path = path.display())]
    ConfigChanged {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A file or folder of the run cannot be read or written.
    #[error("cannot read or write {path}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A folder is not the output folder of a run that came to its end.
    #[error("{path}: {reason}", path = path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The output folder is used by another run.
    #[error("{path}: another run uses this folder", path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Training went wrong; nothing of this step was written.
    #[error(
        "step {step}: {what} not a finite number ({}): try a lower `learning_rate`, a longer warm-up or a smaller \
         `max_grad_norm`; {}",
        measured(*loss, *grad_norm),
        newest.as_ref().map_or("no checkpoint was written before".into(), |newest| format!("the newest good checkpoint is {newest}"))
    )]
    Diverged {
        /// The step.
        step: usize,
        /// What is not a finite number.
        what: &'static str,
        /// The loss of the step.
        loss: f64,
        /// The norm of its gradients, where it was known by then.
        grad_norm: Option<f64>,
        /// The checkpoint to go on from.
        newest: Option<String>,
    },
    /// Processes that train together do not meet, or one of them has failed.
    #[error("{0}")]
    Processes(String),
    /// The run was asked to stop before training began.
    #[error("stopped")]
    Stopped,
}

impl TrainError {
    pub(crate) fn setting(name: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { name, reason: reason.into() }
    }

    pub(crate) fn checkpoint(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Checkpoint { path: path.into(), reason: reason.to_string() }
    }

    /// As one line, with what caused it.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            line = format!("{line}: {cause}");
            source = cause.source();
        }
        line
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}

/// What is known of a step that diverged.
fn measured(loss: f64, grad_norm: Option<f64>) -> String {
    let norm = grad_norm.map_or(String::new(), |norm| format!(", gradient norm {norm:.4}"));
    format!("loss {loss:.4}{norm}")
}

/// Makes a folder that a setting names, unless it is there; it lasts, whatever happens to the machine.
pub(crate) fn make_folder(name: &'static str, folder: &Path) -> Result<()> {
    let fail = |error| TrainError::setting(name, format!("{}: {error}", folder.display()));
    // What is new is in the folder above the first that is missing.
    let new: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    std::fs::create_dir_all(folder).map_err(fail)?;
    let above = new.iter().filter_map(|folder| folder.parent());
    let mut above = above.map(|folder| if folder == Path::new("") { Path::new(".") } else { folder });
    above.try_for_each(sync_folder).map_err(fail)
}

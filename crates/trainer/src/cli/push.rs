//! `train_control_cogview4 push`, and what `--push_to_hub` does around a run: look at the name and the token before it,
//! push after it.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::anyhow;
use clap::Parser;
use cogview4_data::FolderLock;
use cogview4_hub::{Hub, HubError, PushOptions, RepoId, TerminalProgress, Token};
use cogview4_model::weights::WeightFiles;

use super::{interrupt::end_when_asked, with_flags};
use crate::{
    error::{Result, TrainError},
    run::{LOCK, is_published, is_weights},
    stop::StopFlag,
};

/// So much of why a push failed is said, so that the command after it is not cut.
const MAX_REASON: usize = 280;

/// The flags of `push`.
#[derive(Debug, Clone, Parser)]
#[command(rename_all = "snake_case")]
pub struct PushArgs {
    /// Output folder of a run
    pub output_dir: PathBuf,
    /// Name on the Hub, with its owner or without [default: the name of the folder]
    #[arg(long)]
    pub hub_model_id: Option<String>,
    /// Token for the Hub, in place of that of the environment
    #[arg(long)]
    pub hub_token: Option<Token>,
    /// Make the repository a private one, unless it is there
    #[arg(long)]
    pub private: bool,
}

/// Pushes the result of a run, and writes to `out` where it is then. What is there already is not sent again.
///
/// ```no_run
/// use clap::Parser;
/// use cogview4_trainer::cli::{PushArgs, push};
///
/// let args = PushArgs::try_parse_from(["push", "pose-control", "--private"])?;
/// push(&args, &mut std::io::stdout())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A folder without a transformer, or one that a run writes to; a name or token that the Hub refuses; a Hub that fails.
pub fn push(args: &PushArgs, out: &mut dyn Write) -> Result<()> {
    check_token(args.hub_token.as_ref())?;
    check_folder(&args.output_dir)?;
    let target = args.target(&hub(args.hub_token.as_ref()))?;
    target.push(out)
}

/// The Hub of the environment, asked with a token that was given.
pub(super) fn hub(token: Option<&Token>) -> Hub {
    match token {
        Some(token) => Hub::from_env().with_token(Some(token.clone())),
        None => Hub::from_env(),
    }
}

/// Refuses a token that cannot be one.
pub(super) fn check_token(token: Option<&Token>) -> Result<()> {
    match token.is_some_and(|token| !token.is_sound()) {
        true => Err(TrainError::setting("hub_token", "is empty, or has characters that no token has")),
        false => Ok(()),
    }
}

impl PushArgs {
    /// Asks the Hub whether the name and the token are good.
    pub(super) fn target(&self, hub: &Hub) -> Result<Target> {
        let name = self.hub_model_id.clone().map_or_else(|| folder_name(&self.output_dir), Ok)?;
        let id = hub.resolve_id(&name).map_err(|error| match error {
            HubError::BadName { name, reason } => TrainError::setting("hub_model_id", format!("`{name}`: {reason}")),
            HubError::WrongToken { endpoint } if self.hub_token.is_some() => {
                TrainError::setting("hub_token", format!("{endpoint} refuses this token"))
            }
            other => other.into(),
        })?;
        Ok(Target { args: self.clone(), hub: hub.clone(), id })
    }

    /// The command line that pushes.
    fn command(&self) -> String {
        let mut command = format!("train_control_cogview4 push {}", quoted(&self.output_dir.to_string_lossy()));
        if let Some(id) = &self.hub_model_id {
            command += &format!(" --hub_model_id {}", quoted(id));
        }
        command
    }

    /// An error after the run, with the command that goes on.
    pub(super) fn failure(&self, reason: &str) -> anyhow::Error {
        let line = cogview4_cli::one_line(reason);
        let mut reason: String = line.chars().take(MAX_REASON).collect();
        if reason.len() < line.len() {
            reason += "...";
        }
        anyhow!("not pushed: {reason}; the run is whole, push it with: {}", self.command())
    }
}

/// Where a run is pushed to.
#[derive(Debug)]
pub(super) struct Target {
    args: PushArgs,
    hub: Hub,
    id: RepoId,
}

impl Target {
    /// The name, with its owner.
    pub(super) fn id(&self) -> &RepoId {
        &self.id
    }

    /// Pushes the output folder.
    pub(super) fn push(&self, out: &mut dyn Write) -> Result<()> {
        let folder = &self.args.output_dir;
        check_folder(folder)?;
        let _lock = FolderLock::acquire(folder, LOCK)?.ok_or_else(|| TrainError::InUse { path: folder.clone() })?;
        WeightFiles::open(folder, "diffusion_pytorch_model")?;
        let private = self.args.private;
        let options = PushOptions { private, choose: &is_published, replace: &is_weights, ..PushOptions::default() };
        let pushed = self.hub.push(&self.id, folder, &options)?;
        // It is pushed, whether somebody reads this or not.
        let _ = writeln!(out, "{}: {} files pushed, {} were there", pushed.url, pushed.uploaded, pushed.reused);
        Ok(())
    }

    /// The same after a run, whose signals go on being heard; an error ends with the command that goes on.
    pub(super) fn push_after(mut self, stop: StopFlag, out: &mut dyn Write) -> anyhow::Result<()> {
        let stopped = self.args.failure("stopped");
        if stop.is_requested() {
            return Err(stopped);
        }
        let shown = Arc::new(TerminalProgress::default());
        self.hub = self.hub.with_progress(shown.clone());
        let _watched = end_when_asked(stop, shown, format!("error: {stopped}"));
        self.push(out).map_err(|error| self.args.failure(&format!("{:#}", with_flags(error))))
    }
}

/// Refuses what is no output folder, before the Hub is asked and a file for the lock is made.
fn check_folder(folder: &Path) -> Result<()> {
    let has_weights = || {
        let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name.to_str().is_some_and(is_weights)).then_some(())
    };
    let reason = match folder.is_dir() {
        false => "there is no such folder",
        true if !folder.join("config.json").is_file() => "holds no transformer: there is no config.json",
        true if has_weights().is_none() => "holds no transformer: there is no diffusion_pytorch_model.safetensors",
        true => return Ok(()),
    };
    Err(TrainError::NotARun { path: folder.into(), reason })
}

/// What a folder is called, however it is written.
fn folder_name(folder: &Path) -> Result<String> {
    let whole = std::fs::canonicalize(folder).or_else(|_| std::path::absolute(folder)).unwrap_or_default();
    let name = whole.file_name().and_then(|name| name.to_str());
    let unknown = || TrainError::setting("hub_model_id", format!("give it, {} has no name", folder.display()));
    name.map(str::to_owned).ok_or_else(unknown)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_=+:,./@%".contains(character);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_goes_on_is_whole() {
        let args =
            PushArgs::try_parse_from(["push", "my runs/pose's", "--hub_model_id", "me/a", "--hub_token", "hf_x"]);
        let args = args.expect("parsed");
        let command = r"train_control_cogview4 push 'my runs/pose'\''s' --hub_model_id me/a";
        let error = cogview4_cli::one_line(&format!("error: {}", args.failure(&"long\n".repeat(1000))));
        assert!(error.ends_with(command) && !error.contains("hf_x"), "{error}");
    }

    #[test]
    fn folders_have_their_own_names() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("pose/deep")).expect("made");
        for path in ["pose", "pose/", "pose/.", "pose/deep/.."] {
            assert_eq!(folder_name(&folder.path().join(path)).expect("a name"), "pose", "{path}");
        }
        assert_eq!(folder_name("not/there/yet".as_ref()).expect("a name"), "yet");
        assert!(folder_name("/".as_ref()).is_err());
    }
}

//! Where a run is: its name, which outlives a kill, and a folder for each part of it.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use cogview4_model::files::write_atomic;
use serde::{Deserialize, Serialize};

use super::{
    super::json_lines::Earlier,
    date::date_time,
    log_file,
    messages::{History, What},
};
use crate::{
    config::TrainConfig,
    error::{Result, TrainError},
};

/// The file in the output folder that keeps the name of the run.
const RESUME: &str = "wandb-resume.json";
/// A run's name, where W&B draws it.
const ID_CHARACTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const ID_LENGTH: usize = 8;
/// What W&B takes for a name at most.
const MAX_ID_LENGTH: usize = 64;

/// What W&B calls a run, through all of its parts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunId {
    #[serde(rename = "run_id")]
    pub(super) name: String,
    /// Whether an earlier part has it.
    #[serde(skip)]
    pub(super) is_kept: bool,
}

impl RunId {
    /// The name of a run that goes on after `step` steps; one that begins gets a new one.
    pub(super) fn open(output_dir: &Path, step: usize) -> Result<Self> {
        let path = output_dir.join(RESUME);
        match fs::read(&path) {
            Ok(bytes) if step > 0 => Self::parse(&path, &bytes),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(TrainError::io(&path)(error)),
            _ => {
                let id = Self { name: new_name(), is_kept: false };
                let text = serde_json::to_string(&id).map_err(|error| TrainError::checkpoint(&path, error))?;
                write_atomic(&path, text.as_bytes())?;
                Ok(id)
            }
        }
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let id: Self = serde_json::from_slice(bytes).map_err(|error| TrainError::checkpoint(path, error))?;
        // It becomes a part of paths.
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.name.is_empty() || id.name.len() > MAX_ID_LENGTH || !id.name.chars().all(is_name) {
            return Err(TrainError::checkpoint(path, "`run_id` is no name of a run"));
        }
        Ok(Self { is_kept: true, ..id })
    }
}

fn new_name() -> String {
    let state = RandomState::new();
    let character = |index| char::from(ID_CHARACTERS[(state.hash_one(index) % 36) as usize]);
    (0..ID_LENGTH).map(character).collect()
}

/// What earlier parts of a run hold.
#[derive(Debug, Default)]
pub(super) struct EarlierParts {
    /// The newest step; steps are written in order, so all before it are there.
    pub(super) last_step: Option<usize>,
    /// The newest step that was validated.
    pub(super) last_validation: Option<usize>,
    /// Seconds that they took.
    pub(super) runtime: f64,
}

/// The folder of one part of a run.
#[derive(Debug)]
pub(super) struct RunFolder {
    pub(super) path: PathBuf,
    /// Seconds since 1970.
    pub(super) started: u64,
}

impl RunFolder {
    /// Makes a folder of its own in `wandb`, and leads `latest-run` there.
    pub(super) fn create(wandb: &Path, id: &str) -> Result<Self> {
        fs::create_dir_all(wandb).map_err(TrainError::io(wandb))?;
        let mut started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Parts are put in order by their second, so no two have the same.
        let path = loop {
            let path = wandb.join(format!("offline-run-{}-{id}", date_time(started)));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => started += 1,
                Err(error) => return Err(TrainError::io(path)(error)),
            }
        };
        for name in ["files", "logs"] {
            let folder = path.join(name);
            fs::create_dir(&folder).map_err(TrainError::io(&folder))?;
        }
        link_latest(wandb, &path);
        Ok(Self { path, started })
    }

    /// The file of records.
    pub(super) fn log_path(&self, id: &str) -> PathBuf {
        self.path.join(format!("run-{id}.wandb"))
    }

    /// The folder of pictures.
    pub(super) fn files(&self) -> PathBuf {
        self.path.join("files")
    }
}

/// Only a convenience: some file systems have no links, and a folder of that name is not ours.
fn link_latest(wandb: &Path, run: &Path) {
    #[cfg(unix)]
    if let Some(name) = run.file_name() {
        let temporary = wandb.join(format!(".{}", name.to_string_lossy()));
        let _ = std::os::unix::fs::symlink(name, &temporary);
        if fs::rename(&temporary, wandb.join("latest-run")).is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }
    #[cfg(not(unix))]
    let _ = (wandb, run);
}

/// Reads the earlier parts of a run that goes on after `step` steps; `measured` is what JSON lines have of them.
pub(super) fn earlier_parts(config: &TrainConfig, id: &RunId, step: usize, measured: &Earlier) -> Result<EarlierParts> {
    let mut earlier = EarlierParts::default();
    if !id.is_kept {
        return Ok(earlier);
    }
    let folders = run_folders(&config.wandb_folder(), &id.name)?;
    for folder in &folders {
        let path = folder.join(format!("run-{}.wandb", id.name));
        // One that was killed before it wrote anything has none.
        for record in log_file::records(&fs::read(path).unwrap_or_default()) {
            if let Some(What::History(history)) = record.what {
                earlier.add(&history);
            }
        }
    }
    if folders.is_empty() {
        // They were synced and removed.
        earlier.last_step = Some(step);
        earlier.last_validation = measured.validations.last().map(|validation| validation.step);
    }
    if config.allow_config_change {
        // What comes now is not what was there.
        earlier.last_step = earlier.last_step.map(|last| last.min(step));
        earlier.last_validation = earlier.last_validation.map(|last| last.min(step));
    }
    Ok(earlier)
}

impl EarlierParts {
    fn add(&mut self, history: &History) {
        let step = history.step.as_ref().and_then(|step| usize::try_from(step.num).ok());
        self.last_step = self.last_step.max(step);
        let has_name =
            |test: fn(&str) -> bool| history.item.iter().find(|item| item.nested_key.iter().any(|key| test(key)));
        if has_name(|key| key.starts_with("validation/")).is_some() {
            self.last_validation = self.last_validation.max(step);
        }
        let runtime = has_name(|key| key == "_runtime").and_then(|item| item.value_json.parse().ok());
        self.runtime = self.runtime.max(runtime.unwrap_or(0.0));
    }
}

/// The folders of all parts of a run, the oldest first.
fn run_folders(wandb: &Path, id: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(wandb) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(TrainError::io(wandb))?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(TrainError::io(wandb))?.path();
        if path.file_name().is_some_and(|name| run_id(&name.to_string_lossy()) == id) {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// The name of the run in that of a part's folder; empty where the folder is none.
pub(crate) fn run_id(folder: &str) -> &str {
    // `offline-run-YYYYMMDD_HHMMSS-ID`
    folder.strip_prefix("offline-run-").and_then(|rest| rest.split_once('-')).map_or("", |(_, id)| id)
}

/// The folders of all parts of the run that this is the folder of one of, the oldest first; it alone where they cannot
/// be found.
pub(crate) fn parts(run: &Path) -> Vec<PathBuf> {
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    let found = run.parent().and_then(|wandb| run_folders(wandb, run_id(&name)).ok());
    found.unwrap_or_else(|| vec![run.into()])
}

//! What a run writes of itself for others to show, as it is configured.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Serialize;

use crate::{
    error::{Result, TrainError},
    names::names,
};

/// What W&B takes in the name of a project.
const MAX_PROJECT: usize = 128;
const NOT_IN_PROJECT: &[char] = &['/', '\\', '#', '?', '%', ':'];

/// A tracker that is chosen; `metrics.jsonl` and `report.html` are always written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrackerKind {
    /// TensorBoard's event files.
    TensorBoard,
    /// W&B's offline runs.
    Wandb,
}

names!(TrackerKind { TensorBoard = "tensorboard", Wandb = "wandb" });

impl TrackerKind {
    /// All that are available.
    pub fn all() -> BTreeSet<Self> {
        [Self::TensorBoard, Self::Wandb].into()
    }
}

/// What W&B is told of a run beside what it measures.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct WandbConfig {
    /// The user or team that the run is of; W&B knows it where not given.
    pub entity: Option<String>,
    /// Name of the run; W&B makes one up where not given.
    pub name: Option<String>,
    /// Tags of the run.
    pub tags: Vec<String>,
    /// The folder that `wandb` is made in; the output folder where not given.
    #[serde(serialize_with = "super::shown::optional_path")]
    pub dir: Option<PathBuf>,
}

/// Checks the name of a project: TensorBoard's folder has it, and W&B would refuse others only when it is synced.
pub(super) fn check_project(name: &str) -> Result<()> {
    let leads_elsewhere = matches!(name, "" | "." | "..");
    if leads_elsewhere || name.chars().count() > MAX_PROJECT || name.contains(NOT_IN_PROJECT) {
        let not: String = NOT_IN_PROJECT.iter().collect();
        let reason = format!("`{name}` is no name of a project: 1 to {MAX_PROJECT} characters, none of {not}");
        return Err(TrainError::setting("tracker_project_name", reason));
    }
    Ok(())
}

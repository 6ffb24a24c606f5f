//! Everything of a run but weights and moments.

use std::path::Path;

use cogview4_model::files::{MAX_CONFIG_BYTES, read_text};
use serde::{Deserialize, Serialize};

use super::files::{name_of, step_of};
use crate::{
    config::{MAX_COUNT, Recipe},
    error::{Result, TrainError},
};

/// Its file in a checkpoint.
pub(super) const STATE: &str = "state.json";

/// The state of a run after a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainState {
    /// Optimiser steps made.
    pub step: usize,
    pub seed: u64,
    /// Processes that trained together; one in files of earlier releases.
    #[serde(default = "one")]
    pub processes: usize,
    /// Length of the run, where the learning rate depends on it.
    pub total_steps: Option<usize>,
    #[serde(alias = "numerics")]
    pub recipe: Recipe,
    /// Hash of the rows.
    pub data_hash: String,
    /// The norm of the step's gradients, where the next step is clipped by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_norm: Option<f32>,
    /// Where it ran.
    pub machine: Option<Machine>,
}

/// What exact resume is promised for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub device: String,
    pub threads: usize,
    pub version: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here(device: impl ToString) -> Self {
        Self {
            device: device.to_string(),
            threads: rayon::current_num_threads(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// In what this machine differs, so that a resumed run is not the same to the last bit.
    pub(crate) fn differences(&self, here: &Self) -> Option<String> {
        let pairs = [
            ("device", self.device.clone(), here.device.clone()),
            ("threads", self.threads.to_string(), here.threads.to_string()),
            ("version", self.version.clone(), here.version.clone()),
        ];
        let differing = pairs.into_iter().filter(|(_, then, now)| then != now);
        let parts: Vec<String> = differing.map(|(what, then, now)| format!("{what} {then}, now {now}")).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn one() -> usize {
    1
}

impl TrainState {
    /// Reads the state of a checkpoint.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE);
        let text = read_text(&path, MAX_CONFIG_BYTES).map_err(|error| TrainError::checkpoint(&path, error))?;
        let state: Self = serde_json::from_str(&text).map_err(|error| TrainError::checkpoint(&path, error))?;
        let fail = |reason: String| Err(TrainError::checkpoint(&path, reason));
        let of_name = step_of(&name_of(folder));
        if !(1..=MAX_COUNT).contains(&state.step) || of_name.is_some_and(|step| step != state.step) {
            return fail(format!("`step` is {}", state.step));
        }
        let recipe = &state.recipe;
        let samples = recipe.train_batch_size.saturating_mul(recipe.gradient_accumulation_steps);
        if !(1..=MAX_COUNT).contains(&samples) || !(1..=MAX_COUNT).contains(&state.processes) {
            return fail("its sizes of batches are out of range".into());
        }
        if state.last_norm.is_some_and(|norm| !(norm.is_finite() && norm >= 0.0)) {
            return fail("`last_norm` is not a number from 0 up".into());
        }
        match recipe.check() {
            Ok(()) => Ok(state),
            Err(error) => fail(error.to_string()),
        }
    }
}

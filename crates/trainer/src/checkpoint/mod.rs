//! Checkpoints: `checkpoint-N` holds `transformer/` in diffusers layout, the optimiser's moments and a small state. It is
//! written beside and renamed, so it is there whole or not at all; older ones are removed only afterwards.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, TensorData};
use cogview4_model::{
    CogView4Transformer, ComputeDtype,
    files::write_atomic,
    weights::{WeightFiles, cast_parameters, named_parameters, save_tensors, update_parameters},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::Numerics,
    error::{Result, TrainError},
    optimizer::adamw::{AdamW, Moments},
};

const STATE: &str = "state.json";
const OPTIMIZER: &str = "optimizer.safetensors";
/// In front of the key of an f32 value whose parameter is saved in bfloat16.
const MASTER: &str = "master.";

/// Everything of a run but weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Optimiser steps made.
    pub step: usize,
    /// Samples taken since the run began.
    pub samples: u64,
    pub seed: u64,
    pub world_size: usize,
    /// Length of the run, where the learning rate depends on it.
    pub total_steps: Option<usize>,
    pub numerics: Numerics,
    /// Hash of the rows.
    pub data_hash: String,
    /// Hash of the weights, to notice a transformer that was changed by hand.
    pub weights_hash: String,
    /// Where it ran: exact resume is promised for the same kind of machine.
    pub device: String,
    pub threads: usize,
    pub version: String,
}

/// Writes `checkpoint-N` and then removes the oldest beyond `limit`.
pub(crate) fn write(
    output_dir: &Path,
    state: &State,
    (model, save_dtype): (&CogView4Transformer, ComputeDtype),
    optimizer: &AdamW,
    limit: Option<usize>,
) -> Result<PathBuf> {
    let name = format!("checkpoint-{}", state.step);
    let (temporary, target) = (output_dir.join(format!(".tmp-{name}")), output_dir.join(&name));
    let fail = |error: std::io::Error| TrainError::checkpoint(&target, format!("cannot be written: {error}"));
    remove_if_there(&temporary).map_err(fail)?;
    fs::create_dir_all(temporary.join("transformer")).map_err(fail)?;
    let written = (|| {
        save_transformer(model, &temporary.join("transformer"), save_dtype)?;
        let moment = |name: &str, key: &str, values: &Vec<f32>| {
            (format!("{name}.{key}"), TensorData::new(values.clone(), [values.len()]))
        };
        // What is saved in bfloat16 has its f32 values here.
        let masters = if save_dtype == ComputeDtype::Float32 { Vec::new() } else { named_parameters(model) };
        let masters = masters.into_iter().map(|(key, data)| (format!("{MASTER}{key}"), data));
        let moments = optimizer.moments.iter().flat_map(|(key, moments)| {
            [moment("exp_avg", key, &moments.exp_avg), moment("exp_avg_sq", key, &moments.exp_avg_sq)]
        });
        save_tensors(&temporary.join(OPTIMIZER), moments.chain(masters))?;
        let text = serde_json::to_string_pretty(state).map_err(|error| TrainError::checkpoint(&target, error))?;
        Ok(write_atomic(&temporary.join(STATE), text.as_bytes())?)
    })();
    if let Err(error) = written {
        // What caused it, a full disk for instance, is told; the half-written folder would only be in the way.
        let _ = remove_if_there(&temporary);
        return Err(error);
    }
    remove_if_there(&target).map_err(fail)?;
    fs::rename(&temporary, &target).map_err(fail)?;
    fs::File::open(output_dir).and_then(|folder| folder.sync_all()).map_err(fail)?;
    if let Some(limit) = limit {
        let mut checkpoints = list(output_dir)?;
        let surplus = checkpoints.len().saturating_sub(limit);
        for (_, path) in checkpoints.drain(..surplus) {
            fs::remove_dir_all(&path).map_err(|error| TrainError::checkpoint(&path, error))?;
        }
    }
    Ok(target)
}

/// The newest checkpoint that is complete.
pub(crate) fn latest(output_dir: &Path) -> Result<Option<PathBuf>> {
    if !output_dir.is_dir() {
        return Ok(None);
    }
    Ok(list(output_dir)?.into_iter().rev().map(|(_, path)| path).find(|path| is_complete(path)))
}

/// Reads the state of a checkpoint.
pub(crate) fn read_state(folder: &Path) -> Result<State> {
    let path = folder.join(STATE);
    let text = fs::read_to_string(&path).map_err(|error| TrainError::checkpoint(&path, error))?;
    serde_json::from_str(&text).map_err(|error| TrainError::checkpoint(&path, error))
}

/// Restores the optimiser's moments.
pub(crate) fn read_optimizer(folder: &Path, state: &State) -> Result<AdamW> {
    let path = folder.join(OPTIMIZER);
    let files = WeightFiles::open_file(&path)?;
    let read = |key: &str| read_values(&files, key, &path);
    let mut moments = BTreeMap::new();
    for key in files.keys().filter_map(|key| key.strip_prefix("exp_avg.")) {
        let exp_avg = read(&format!("exp_avg.{key}"))?;
        moments.insert(key.into(), Moments { exp_avg, exp_avg_sq: read(&format!("exp_avg_sq.{key}"))? });
    }
    Ok(AdamW { config: state.numerics.adam, steps: state.step, moments })
}

/// Writes a transformer in diffusers layout, in the type given.
pub(crate) fn save_transformer(model: &CogView4Transformer, folder: &Path, dtype: ComputeDtype) -> Result<()> {
    Ok(cast_parameters(model.clone(), dtype.dtype()).save(folder)?)
}

/// Restores the f32 values of a transformer that was saved in bfloat16.
pub(crate) fn restore_masters(model: CogView4Transformer, folder: &Path) -> Result<CogView4Transformer> {
    let path = folder.join(OPTIMIZER);
    let files = WeightFiles::open_file(&path)?;
    let mut masters = BTreeMap::new();
    for key in files.keys().filter_map(|key| key.strip_prefix(MASTER)) {
        let values: Vec<f32> = read_values(&files, &format!("{MASTER}{key}"), &path)?;
        masters.insert(key.to_string(), values);
    }
    let mut fits = true;
    let model = update_parameters(model, |key, values| match masters.get(key) {
        Some(master) if master.len() == values.len() => values.copy_from_slice(master),
        Some(_) => fits = false,
        None => {}
    });
    if fits { Ok(model) } else { Err(TrainError::checkpoint(path, "holds parameters of another model")) }
}

fn read_values(files: &WeightFiles, key: &str, path: &Path) -> Result<Vec<f32>> {
    let data = files.read(key, DType::F32)?;
    data.try_into_vec().map_err(|error| TrainError::checkpoint(path, format!("`{key}`: {error}")))
}

/// Hash of all weights.
pub(crate) fn weights_hash(model: &CogView4Transformer) -> String {
    let mut hasher = blake3::Hasher::new();
    for (key, data) in named_parameters(model) {
        hasher.update(key.as_bytes());
        hasher.update(data.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn is_complete(folder: &Path) -> bool {
    read_state(folder).is_ok()
        && WeightFiles::open_file(&folder.join(OPTIMIZER)).is_ok()
        && folder.join("transformer").join("config.json").is_file()
        && WeightFiles::open(&folder.join("transformer"), "diffusion_pytorch_model").is_ok()
}

/// All checkpoints, oldest first.
pub(crate) fn list(output_dir: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let fail = |error| TrainError::checkpoint(output_dir, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(output_dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(step) = name.strip_prefix("checkpoint-").and_then(|step| step.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

fn remove_if_there(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

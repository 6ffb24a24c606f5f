//! Models written anew in another type or in other shards, in diffusers layout.

use std::{fs, path::Path};

use burn::tensor::DType;
use cogview4_model::{
    files::{AtomicFolder, MAX_CONFIG_BYTES, MAX_PICTURE_BYTES, read_regular, read_text, write_atomic},
    weights::{WeightFiles, WeightFormat, convert_weights, weights_stem},
};
use serde_json::Value;

use super::{
    Component,
    model_folder::{MODEL_INDEX, ModelFolder},
};
use crate::error::{PipelineError, Result};

/// Endings of files with weights, also of those that are not read; they are not copied.
const WEIGHTS: &[&str] =
    &["safetensors", "bin", "pt", "pth", "ckpt", "gguf", "h5", "msgpack", "onnx", "onnx_data", "pb", "xml"];
const CONFIG: &str = "config.json";
/// Ending of the files that list shards.
const INDEX: &str = ".index.json";
/// Where transformers keeps the type of weights in `config.json`.
const DTYPE_KEYS: [&str; 2] = ["dtype", "torch_dtype"];

/// Writes the model in a folder to a new folder: the weights in `format`, one tensor at a time, and what is beside them
/// as it is. A pipeline becomes a pipeline, a component or a checkpoint a component. The new folder is there whole or
/// not at all, and nothing that is there is written over.
///
/// ```no_run
/// use cogview4_control_pipeline::convert;
/// use cogview4_model::{ComputeDtype, weights::WeightFormat};
///
/// let format = WeightFormat { dtype: Some(ComputeDtype::BFloat16.dtype()), ..WeightFormat::default() };
/// convert("pose-control/checkpoint-500".as_ref(), "pose-control-bf16".as_ref(), format)?;
/// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
/// ```
///
/// # Errors
/// A folder without weights, a component that is not there or has no weights that are read, a broken file, a folder
/// that is there and not empty, or one that cannot be written.
pub fn convert(from: &Path, to: &Path, format: WeightFormat) -> Result<()> {
    let found = ModelFolder::find(from)?;
    let target = AtomicFolder::create(to)?;
    match &found {
        // What else is beside the weights belongs to a run, not to the model.
        ModelFolder::Component(folder) => {
            let config = folder.join(CONFIG);
            if !config.is_file() {
                return Err(PipelineError::component(config, "is missing, nothing says what the weights are of"));
            }
            copy_config(&config, &target.path().join(CONFIG), format.dtype)?;
            convert_weights_in(folder, target.path(), format)?;
        }
        ModelFolder::Pipeline(root, names) => {
            copy(&root.join(MODEL_INDEX), &target.path().join(MODEL_INDEX))?;
            for name in names {
                let folder = target.path().join(name);
                fs::create_dir(&folder).map_err(|error| PipelineError::component(&folder, error.to_string()))?;
                convert_component(&root.join(name), &folder, format)?;
            }
        }
    }
    Ok(target.commit()?)
}

fn convert_component(from: &Path, to: &Path, format: WeightFormat) -> Result<()> {
    let fail = |error: std::io::Error| PipelineError::component(from, error.to_string());
    for entry in fs::read_dir(from).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let has_weights = path.extension().is_some_and(|end| WEIGHTS.iter().any(|known| end == *known));
        if !path.is_file() || has_weights || name.ends_with(INDEX) || name.starts_with('.') {
            continue;
        }
        match name.as_str() {
            CONFIG => copy_config(&path, &to.join(name), format.dtype)?,
            _ => copy(&path, &to.join(name))?,
        }
    }
    let name = from.file_name().unwrap_or_default();
    let needs_weights = [Component::Transformer, Component::Vae, Component::TextEncoder].map(Component::name);
    if weights_stem(from).is_none() && needs_weights.iter().any(|needs| name == *needs) {
        return Err(PipelineError::component(from, "holds no safetensors weights"));
    }
    convert_weights_in(from, to, format)
}

/// The weights of a component; some have none.
fn convert_weights_in(from: &Path, to: &Path, format: WeightFormat) -> Result<()> {
    match weights_stem(from) {
        Some(stem) => Ok(convert_weights(&WeightFiles::open(from, stem)?, to, stem, format)?),
        None => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes =
        read_regular(from, MAX_PICTURE_BYTES).map_err(|error| PipelineError::component(from, error.to_string()))?;
    Ok(write_atomic(to, &bytes)?)
}

/// Copies a configuration. Where it tells the type of the weights, it tells the new one.
fn copy_config(from: &Path, to: &Path, dtype: Option<DType>) -> Result<()> {
    let name = match dtype {
        None => return copy(from, to),
        Some(DType::BF16) => "bfloat16",
        Some(_) => "float32",
    };
    let text = read_text(from, MAX_CONFIG_BYTES).map_err(|error| PipelineError::component(from, error.to_string()))?;
    let mut config: Value = serde_json::from_str(&text)
        .map_err(|error| PipelineError::component(from, format!("not valid JSON: {error}")))?;
    let mut changed = false;
    for key in DTYPE_KEYS {
        if let Some(value) = config.get_mut(key).filter(|value| value.is_string() && **value != name) {
            *value = name.into();
            changed = true;
        }
    }
    let text = if changed { format!("{config:#}\n") } else { text };
    Ok(write_atomic(to, text.as_bytes())?)
}

//! Folders with weights, whatever made them: a component, a checkpoint, the output of a run, a whole pipeline.

use std::path::{Component as PathComponent, Path, PathBuf};

use cogview4_model::{
    files::{MAX_CONFIG_BYTES, read_text},
    weights::{WeightFiles, weights_stem},
};

use super::Component;
use crate::error::{PipelineError, Result};

/// The name of a pipeline's index.
pub(super) const MODEL_INDEX: &str = "model_index.json";

/// A folder with weights in diffusers layout.
///
/// ```no_run
/// use cogview4_control_pipeline::ModelFolder;
///
/// for (name, files) in ModelFolder::find("pose-control/checkpoint-500".as_ref())?.open_weights()? {
///     println!("{name}: {} tensors", files.keys().count());
/// }
/// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelFolder {
    /// One component: `config.json` and weights.
    Component(PathBuf),
    /// A pipeline: its folder, and the names of its components.
    Pipeline(PathBuf, Vec<String>),
}

impl ModelFolder {
    /// Finds what is in a folder: a pipeline, a component, or a checkpoint with its `transformer`.
    ///
    /// # Errors
    /// No weights that are read, or a broken `model_index.json`; names the folder or file.
    pub fn find(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(PipelineError::component(folder, "no such folder"));
        }
        if folder.join(MODEL_INDEX).is_file() {
            return Ok(Self::Pipeline(folder.into(), components(&folder.join(MODEL_INDEX))?));
        }
        let transformer = folder.join(Component::Transformer.name());
        [folder, &transformer].into_iter().find(|folder| weights_stem(folder).is_some()).map_or_else(
            || {
                let reason = "holds no safetensors weights: give a pipeline, a component's folder or a checkpoint";
                Err(PipelineError::component(folder, reason))
            },
            |folder| Ok(Self::Component(folder.into())),
        )
    }

    /// Opens the weights of each component that has some, with the component's name; of a component alone, without one.
    ///
    /// # Errors
    /// A broken file.
    pub fn open_weights(&self) -> Result<Vec<(String, WeightFiles)>> {
        let open = |name: &str, folder: &Path| {
            let stem = weights_stem(folder)?;
            Some(WeightFiles::open(folder, stem).map(|files| (name.to_owned(), files)))
        };
        let opened: Vec<_> = match self {
            Self::Component(folder) => open("", folder).into_iter().collect(),
            Self::Pipeline(root, names) => names.iter().filter_map(|name| open(name, &root.join(name))).collect(),
        };
        Ok(opened.into_iter().collect::<Result<Vec<_>, _>>()?)
    }
}

/// The components that a pipeline's index lists: `"vae": ["diffusers", "AutoencoderKL"]`, where one is there.
fn components(index: &Path) -> Result<Vec<String>> {
    let text = read_text(index, MAX_CONFIG_BYTES)
        .map_err(|error| PipelineError::component(index, format!("cannot be read: {error}")))?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| PipelineError::component(index, format!("not valid JSON: {error}")))?;
    let entries = value.as_object().ok_or_else(|| PipelineError::component(index, "not a JSON object"))?;
    let is_there = |(name, value): &(&String, &serde_json::Value)| {
        !name.starts_with('_') && value.as_array().is_some_and(|class| class.iter().all(serde_json::Value::is_string))
    };
    let names = entries.iter().filter(is_there).map(|(name, _)| name.clone());
    names
        .map(|name| {
            let mut parts = Path::new(&name).components();
            match (parts.next(), parts.next()) {
                (Some(PathComponent::Normal(part)), None) if part == name.as_str() => Ok(name),
                _ => Err(PipelineError::component(index, format!("{name:?} is not the name of a folder"))),
            }
        })
        .collect()
}

//! Reading `config.json` files: the error names the file and what is wrong in it.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{ModelError, Result};

/// Reads a component's configuration and checks that it is of the class expected.
///
/// `class_key` is the field in which the library that wrote the file names the class (`_class_name` in diffusers,
/// `model_type` in transformers); files without the field are accepted.
pub(crate) fn read<C: DeserializeOwned>(path: &Path, class_key: &str, class: &str) -> Result<C> {
    let text = std::fs::read_to_string(path).map_err(|source| ModelError::Io { path: path.into(), source })?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| ModelError::config(path, format!("not valid JSON: {error}")))?;
    if let Some(found) = value.get(class_key).and_then(|found| found.as_str())
        && found != class
    {
        return Err(ModelError::config(path, format!("describes a `{found}`, expected a `{class}`")));
    }
    serde_json::from_value(value).map_err(|error| ModelError::config(path, error.to_string()))
}

/// A check of a configuration value: names the field in the error.
pub(crate) fn check(holds: bool, path: &Path, reason: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(ModelError::config(path, reason())) }
}

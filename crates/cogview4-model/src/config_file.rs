//! Reading `config.json` files: the error names the file and what is wrong in it.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::{
    error::{ModelError, Result},
    files::{MAX_CONFIG_BYTES, read_text},
};

/// Models have no more layers, in one list.
pub(crate) const MAX_LAYERS: usize = 1000;
/// Widths, heads, sides and other sizes are not larger: products of two are far from what a number holds.
const MAX_SIZE: usize = 1 << 24;

/// Reads a component's configuration and checks that it is of the class expected.
///
/// `class_key` is the field in which the library that wrote the file names the class (`_class_name` in diffusers,
/// `model_type` in transformers); files without the field are accepted.
pub(crate) fn read<C: DeserializeOwned>(path: &Path, class_key: &str, class: &str) -> Result<C> {
    let text = read_text(path, MAX_CONFIG_BYTES).map_err(ModelError::io(path))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| ModelError::config(path, format!("not valid JSON: {error}")))?;
    if let Some(found) = value.get(class_key).and_then(|found| found.as_str())
        && found != class
    {
        return Err(ModelError::config(path, format!("describes a `{found}`, expected a `{class}`")));
    }
    // A list would be taken as the fields one after another.
    check(value.is_object(), path, || "is not a JSON object".into())?;
    serde_json::from_value(value).map_err(|error| ModelError::config(path, error.to_string()))
}

/// A check of a configuration value: names the field in the error.
pub(crate) fn check(holds: bool, path: &Path, reason: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(ModelError::config(path, reason())) }
}

/// Checks that a size is at least 1 and at most `most`, by the name of its field.
pub(crate) fn check_size(path: &Path, field: &str, size: usize, most: usize) -> Result<()> {
    check(size > 0, path, || format!("`{field}` is 0"))?;
    check(size <= most, path, || format!("`{field}` is {size}, more than {most}"))
}

/// The same for sizes of which none has a bound of its own.
pub(crate) fn check_sizes<'a>(path: &Path, sizes: impl IntoIterator<Item = (&'a str, usize)>) -> Result<()> {
    sizes.into_iter().try_for_each(|(field, size)| check_size(path, field, size, MAX_SIZE))
}

/// Checks that a number is finite and within a range, by the name of its field.
pub(crate) fn check_number(path: &Path, field: &str, number: f64, range: std::ops::RangeInclusive<f64>) -> Result<()> {
    check(range.contains(&number), path, || {
        format!("`{field}` is {number}, not from {} to {}", range.start(), range.end())
    })
}

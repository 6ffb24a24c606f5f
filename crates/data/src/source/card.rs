//! What the front matter of a data set's README.md says of its configurations, as the `datasets` library reads it:
//! `configs: [{config_name, data_files, data_dir, default}]`.

use serde_json::Value;

use crate::yaml::{as_text, parse_yaml};

/// The split that files belong to where nothing says which.
pub(super) const TRAIN: &str = "train";

/// A configuration of a data set.
#[derive(Debug, Clone)]
pub(super) struct CardConfig {
    pub(super) name: String,
    pub(super) is_default: bool,
    /// The folder that it is in; empty is the data set's own.
    pub(super) folder: String,
    /// Each split with the patterns of its files; `None` is found by name.
    pub(super) splits: Option<Vec<(String, Vec<String>)>>,
}

/// The configurations of a README, none where it has no front matter or that says nothing of them.
///
/// # Errors
/// Broken YAML, or configurations of another form; says which.
pub(super) fn read_configs(readme: &str) -> Result<Vec<CardConfig>, String> {
    let Some(front_matter) = front_matter(readme) else {
        return Ok(Vec::new());
    };
    // Line numbers are those of the file.
    let card = parse_yaml(front_matter).map_err(|reason| format!("broken YAML: {reason}"))?;
    match &card["configs"] {
        Value::Null => Ok(Vec::new()),
        Value::Array(configs) => configs.iter().map(read_config).collect(),
        _ => Err("`configs` is not a list".into()),
    }
}

/// The text between a line `---` at the beginning and the next one, with that first line.
fn front_matter(readme: &str) -> Option<&str> {
    let text = readme.trim_start_matches('\u{feff}');
    let mut end = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        match (number, line.trim_end()) {
            (0, "---") => {}
            (0, _) => return None,
            (_, "---") => return text.get(..end),
            _ => {}
        }
        end += line.len();
    }
    None
}

fn read_config(config: &Value) -> Result<CardConfig, String> {
    let name = as_text(&config["config_name"]).ok_or("a configuration has no `config_name`")?;
    let fail = |reason: String| format!("configuration `{name}`: {reason}");
    let folder = match &config["data_dir"] {
        Value::Null => String::new(),
        folder => as_text(folder)
            .and_then(|folder| clean_folder(&folder))
            .ok_or_else(|| fail("`data_dir` is not a folder of the data set".into()))?,
    };
    let splits = match &config["data_files"] {
        Value::Null => None,
        files => Some(read_splits(files).map_err(fail)?),
    };
    Ok(CardConfig { is_default: config["default"] == true, folder, splits, name })
}

/// A folder without `./` and slashes at its ends; `None` where it leads elsewhere.
fn clean_folder(folder: &str) -> Option<String> {
    let is_inside = !folder.starts_with('/') && !folder.contains([':', '\\']);
    let parts: Vec<&str> = folder.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (is_inside && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// A pattern, a list of patterns, or a list of splits.
fn read_splits(files: &Value) -> Result<Vec<(String, Vec<String>)>, String> {
    let list = match files {
        Value::Array(list) if list.iter().any(Value::is_object) => list,
        _ => return Ok(vec![(TRAIN.into(), read_patterns(files)?)]),
    };
    let mut splits: Vec<(String, Vec<String>)> = Vec::new();
    for entry in list {
        let name = as_text(&entry["split"]).filter(|name| is_split_name(name));
        let name = name.ok_or("an entry of `data_files` has no `split`, or one that is no name")?;
        if splits.iter().any(|(other, _)| *other == name) {
            return Err(format!("split `{name}` is there twice"));
        }
        let patterns = read_patterns(&entry["path"]).map_err(|reason| format!("split `{name}`: {reason}"))?;
        splits.push((name, patterns));
    }
    Ok(splits)
}

/// Words of letters, digits and underscores, with dots between them.
fn is_split_name(name: &str) -> bool {
    name.split('.').all(|word| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

fn read_patterns(value: &Value) -> Result<Vec<String>, String> {
    let pattern = |value: &Value| value.as_str().map(String::from).ok_or("a path of `data_files` is not a text");
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) if !list.is_empty() => Ok(list.iter().map(pattern).collect::<Result<_, _>>()?),
        _ => Err("`data_files` names no files".into()),
    }
}

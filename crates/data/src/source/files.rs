//! Which files of a data set hold which split, as the `datasets` library decides: by the configurations of its README,
//! else by the names of files. Works on names alone, so a folder and a listing of the Hub are read by the same rules.

use std::collections::BTreeSet;

use super::{
    card::{CardConfig, TRAIN, read_configs},
    formats::{holds_rows, why_not},
    patterns::{FilePattern, is_hidden},
    splits::{Split, by_name, held_out},
};
use crate::error::{DataError, Result};

/// The file whose front matter describes a data set.
pub(super) const README: &str = "README.md";

/// The files of a data set that hold the rows of a run: paths from the data set's folder on, each list sorted.
#[derive(Debug)]
#[non_exhaustive]
pub struct DatasetFiles {
    /// Of the split `train`.
    pub train: Vec<String>,
    /// Of the validation split, else the test split, if there is one; an error where they are announced and not there.
    pub held_out: Result<Option<Vec<String>>>,
}

/// Chooses the files of a data set: of the configuration asked for, or the one that is there without asking. All are
/// parquet files, or tables (`metadata.jsonl`, `metadata.csv`) beside the pictures that they name.
///
/// ```
/// use cogview4_data::choose_files;
///
/// let paths = ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"].map(String::from);
/// let files = choose_files(&paths, None, None)?;
/// assert_eq!(files.train, ["data/train-00000-of-00001.parquet"]);
/// assert_eq!(files.held_out?.unwrap(), ["data/test-00000-of-00001.parquet"]);
/// # Ok::<(), cogview4_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Setting`] where a configuration must be chosen, or there is none of that name, with those that are
/// there; [`DataError::File`], with a path from the data set's folder on, for a broken README, one that names no files
/// that are there, and files of formats that are not read.
pub fn choose_files(paths: &[String], readme: Option<&str>, config: Option<&str>) -> Result<DatasetFiles> {
    let mut all: Vec<&str> = paths.iter().map(String::as_str).collect();
    all.sort_unstable();
    let configs = readme.map_or(Ok(Vec::new()), read_configs).map_err(|reason| DataError::file(README, reason))?;
    if configs.is_empty() {
        return by_names(&all, config);
    }
    let chosen = choose_config(&configs, config)?;
    match &chosen.splits {
        None => choose_by_name(&all, &chosen.folder),
        Some(_) => by_patterns(&all, chosen),
    }
}

/// Chooses among parquet files that the Hub made of a data set: `CONFIG/SPLIT/0000.parquet`.
///
/// # Errors
/// As [`choose_files`]; also where only the beginning of the data set was converted.
pub fn choose_converted_files(paths: &[String], config: Option<&str>) -> Result<DatasetFiles> {
    let mut all: Vec<&str> = paths.iter().map(String::as_str).filter(|path| path.ends_with(".parquet")).collect();
    all.sort_unstable();
    let mut names: Vec<&str> = all.iter().filter_map(|path| path.split_once('/')).map(|(name, _)| name).collect();
    names.dedup();
    let name = match config {
        Some(name) => names.iter().find(|known| **known == name),
        None => names.iter().find(|name| **name == "default").or(names.first().filter(|_| names.len() == 1)),
    };
    let name = *name.ok_or_else(|| config_error(config, &names))?;
    let mut splits: Vec<Split<'_>> = Vec::new();
    for path in all {
        let parts: Vec<&str> = path.split('/').collect();
        let [folder, split, _] = parts[..] else { continue };
        match splits.iter_mut().find(|(known, _)| known == split) {
            _ if folder != name => {}
            Some((_, files)) => files.push(path),
            None => splits.push((split.into(), vec![path])),
        }
    }
    if splits.iter().any(|(split, _)| split == "partial-train") {
        return Err(DataError::file(name, "only the beginning of the data set is there as parquet"));
    }
    let train = splits.iter().find(|(split, _)| split == TRAIN);
    let (_, train) = train.ok_or_else(|| DataError::file(name, format!("has no split `{TRAIN}`")))?;
    Ok(DatasetFiles { train: owned(train), held_out: Ok(held_out(&splits).map(|(_, files)| owned(files))) })
}

/// The configuration asked for, else the default, else the only one.
fn choose_config<'c>(configs: &'c [CardConfig], asked: Option<&str>) -> Result<&'c CardConfig> {
    let names = || configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>();
    if let Some(name) = asked {
        return configs.iter().find(|config| config.name == name).ok_or_else(|| config_error(asked, &names()));
    }
    let is_default = |config: &&CardConfig| configs.len() == 1 || config.is_default || config.name == "default";
    match configs.iter().filter(is_default).collect::<Vec<_>>()[..] {
        [config] => Ok(config),
        [] => Err(config_error(None, &names())),
        [one, other, ..] => {
            let reason = format!("both `{}` and `{}` are default configurations", one.name, other.name);
            Err(DataError::file(README, reason))
        }
    }
}

/// Names are listed up to this length, so that the line says the rest too.
const MAX_LISTED: usize = 300;

fn config_error(asked: Option<&str>, names: &[&str]) -> DataError {
    let mut list = names.join(", ");
    if let Some((end, _)) = list.char_indices().nth(MAX_LISTED) {
        list.truncate(end);
        list.push_str("...");
    }
    let reason = match asked {
        _ if names.is_empty() => "the data set has no configurations".into(),
        Some(name) => format!("the data set has no configuration `{name}`, its configurations are: {list}"),
        None => format!("the data set has several configurations, give one of: {list}"),
    };
    DataError::Setting { setting: "dataset_config_name", reason }
}

/// Without a README that names configurations, a configuration is a folder.
fn by_names(all: &[&str], config: Option<&str>) -> Result<DatasetFiles> {
    let Some(config) = config.map(|config| config.trim_end_matches('/')) else {
        return choose_by_name(all, "");
    };
    let inside = format!("{config}/");
    if all.iter().any(|path| holds_rows(path) && path.starts_with(&inside)) {
        return choose_by_name(all, config);
    }
    if config == "default" {
        return choose_by_name(all, "");
    }
    let folders =
        all.iter().filter(|path| holds_rows(path) && !is_hidden(path)).filter_map(|path| path.split_once('/'));
    let mut names: Vec<&str> = folders.map(|(folder, _)| folder).collect();
    names.dedup();
    Err(config_error(Some(config), &names))
}

/// Splits by the names of the files in a folder of the data set; an empty folder is the data set's own.
fn choose_by_name(all: &[&str], folder: &str) -> Result<DatasetFiles> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let inside: Vec<&str> = all.iter().filter_map(|path| path.strip_prefix(&prefix)).collect();
    let files: Vec<&str> = inside.iter().copied().filter(|path| holds_rows(path) && !is_hidden(path)).collect();
    if files.is_empty() {
        return Err(DataError::file(folder, why_not(&inside)));
    }
    let splits = by_name(&files).map_err(|reason| DataError::file(folder, reason))?;
    let full = |files: &[&str]| files.iter().map(|file| format!("{prefix}{file}")).collect::<Vec<_>>();
    let (_, train) = splits.iter().find(|(name, _)| name == TRAIN).expect("invariant: there are rows to train on");
    // A file may be in a folder of one split and be named by another; what is trained on is not measured on.
    let others = |files: &[&str]| full(&files.iter().copied().filter(|file| !train.contains(file)).collect::<Vec<_>>());
    let held_out = held_out(&splits).map(|(_, files)| others(files)).filter(|files| !files.is_empty());
    Ok(DatasetFiles { train: full(train), held_out: Ok(held_out) })
}

/// Splits as the README lists them.
fn by_patterns(all: &[&str], config: &CardConfig) -> Result<DatasetFiles> {
    let splits = config.splits.as_deref().unwrap_or_default();
    let fail = |reason: String| DataError::file(README, format!("configuration `{}`: {reason}", config.name));
    let Some((_, train)) = splits.iter().find(|(name, _)| name == TRAIN) else {
        let names: Vec<&str> = splits.iter().map(|(name, _)| name.as_str()).collect();
        return Err(fail(format!("has no split `{TRAIN}`, its splits are: {}", names.join(", "))));
    };
    let files = |split: &str, patterns: &[String]| {
        let found =
            matching(all, &config.folder, patterns).map_err(|reason| fail(format!("split `{split}`: {reason}")))?;
        let rows: Vec<&str> = found.iter().copied().filter(|path| holds_rows(path)).collect();
        match rows.is_empty() {
            true => Err(DataError::file("", why_not(&found))),
            false => Ok(owned(&rows)),
        }
    };
    let train = files(TRAIN, train)?;
    let held_out = held_out(splits).map(|(name, patterns)| files(name, patterns)).transpose();
    Ok(DatasetFiles { train, held_out })
}

/// The files that patterns mean, in the order of the patterns, as `datasets` has them; one at least, each once.
fn matching<'a>(all: &[&'a str], folder: &str, patterns: &[String]) -> Result<Vec<&'a str>, String> {
    let mut files: Vec<&str> = Vec::new();
    for text in patterns {
        let pattern = FilePattern::parse(text, folder)?;
        let before = files.len();
        files.extend(all.iter().filter(|path| **path != README && pattern.matches(path)));
        if files.len() == before && pattern.is_literal() {
            return Err(format!("there is no file `{}`", pattern.text));
        }
    }
    if files.is_empty() {
        return Err(format!("no file is called `{}`", patterns.join("` or `")));
    }
    let mut seen = BTreeSet::new();
    files.retain(|path| seen.insert(*path));
    Ok(files)
}

fn owned(files: &[&str]) -> Vec<String> {
    files.iter().map(|file| file.to_string()).collect()
}

#[cfg(test)]
mod tests;

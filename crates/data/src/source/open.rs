//! Opening what is on the disk.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use cogview4_model::files::{MAX_CONFIG_BYTES, read_text};

use super::{
    Columns, Dataset, DatasetFiles, TrainData, choose_files,
    files::README,
    first_rows,
    formats::{has_extension, holds_rows},
    parquet::ParquetDataset,
    table::{PicturePlace, TableDataset},
};
use crate::error::{DataError, Result};

/// What of a data set is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatasetOptions<'a> {
    /// The configuration, of those that the data set has: the setting `dataset_config_name`.
    pub config_name: Option<&'a str>,
    /// Only the first rows to train on, this many; files behind them are not opened.
    pub max_rows: Option<usize>,
    /// Only the first rows to measure on, this many.
    pub max_held_out_rows: Option<usize>,
}

/// Opens a local data set: a parquet file, or a folder with parquet files or with pictures and `metadata.jsonl` or
/// `metadata.csv`. Where files are named by split, only those of `train` are taken; of several configurations, the
/// default.
///
/// ```no_run
/// use cogview4_data::{Columns, open_dataset};
///
/// let dataset = open_dataset("open_pose_controlnet".as_ref(), &Columns::default())?;
/// println!("{} rows, the first: {:?}", dataset.len(), dataset.row(0)?.captions);
/// # Ok::<(), cogview4_data::DataError>(())
/// ```
///
/// # Errors
/// Nothing that is a data set, a broken file, or a column that is not there.
pub fn open_dataset(path: &Path, columns: &Columns) -> Result<Box<dyn Dataset>> {
    let (folder, files) = Folder::choose(path, None)?;
    folder.open(&files.train, columns, None)
}

/// Opens the validation split of a folder that has a `train` split beside it, else its test split, if there is one:
/// rows that are not trained on.
///
/// # Errors
/// As [`open_dataset`].
pub fn open_held_out(path: &Path, columns: &Columns) -> Result<Option<Box<dyn Dataset>>> {
    if !path.is_dir() {
        return Ok(None);
    }
    let (folder, files) = Folder::choose(path, None)?;
    let files = files.held_out.map_err(|error| error.inside(path))?;
    files.map(|files| folder.open(&files, columns, None)).transpose()
}

/// Opens what a run is given: rows as [`open_dataset`] and [`open_held_out`] find them, of one configuration. Rows to
/// measure on that cannot be read are left out, and [`TrainData::held_out_error`] says why.
///
/// ```no_run
/// use cogview4_data::{Columns, DatasetOptions, open_train_data};
///
/// let options = DatasetOptions { config_name: Some("pose"), max_rows: Some(1000), ..DatasetOptions::default() };
/// let data = open_train_data("controls".as_ref(), options, &Columns::default())?;
/// println!("{} rows to train on", data.train.len());
/// # Ok::<(), cogview4_data::DataError>(())
/// ```
///
/// # Errors
/// As [`open_dataset`], and [`DataError::Setting`] where a configuration must be chosen or is not there.
pub fn open_train_data(path: &Path, options: DatasetOptions<'_>, columns: &Columns) -> Result<TrainData> {
    let (folder, files) = Folder::choose(path, options.config_name)?;
    let open = |files: &[String], max_rows| folder.open(files, columns, max_rows);
    train_data(files, options, path, open)
}

/// Opens both splits of a data set, each as far as its rows are needed. `root` is its folder or name, for messages.
pub(super) fn train_data(
    files: DatasetFiles,
    options: DatasetOptions<'_>,
    root: &Path,
    open: impl Fn(&[String], Option<usize>) -> Result<Box<dyn Dataset>>,
) -> Result<TrainData> {
    let first = |files: &[String], max_rows: Option<usize>| -> Result<Box<dyn Dataset>> {
        let rows = open(files, max_rows)?;
        Ok(match max_rows {
            Some(count) => first_rows(rows, count),
            None => rows,
        })
    };
    let train = first(&files.train, options.max_rows)?;
    let held_out = files.held_out.map_err(|error| error.inside(root));
    let held_out = held_out.and_then(|files| files.map(|files| first(&files, options.max_held_out_rows)).transpose());
    let (held_out, held_out_error) = match held_out {
        Ok(held_out) => (held_out, None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(TrainData { train, held_out, held_out_error })
}

/// Opens a file with one JSON object a line; paths are relative to the file.
///
/// # Errors
/// A broken file or line, or a column that is not there.
pub fn open_jsonl(path: &Path, columns: &Columns) -> Result<Box<dyn Dataset>> {
    Ok(Box::new(TableDataset::open(path, columns, PicturePlace::Anywhere)?))
}

/// The files of a data set on the disk, by their paths from its folder on.
struct Folder {
    files: BTreeMap<String, PathBuf>,
}

impl Folder {
    /// The folder with the files of a configuration; a parquet file is a data set of itself.
    fn choose(path: &Path, config: Option<&str>) -> Result<(Self, DatasetFiles)> {
        let mut folder = Self { files: BTreeMap::new() };
        if path.is_file() && holds_rows(&path.to_string_lossy()) {
            if config.is_some() {
                let reason = format!("{} is a file, which has no configurations", path.display());
                return Err(DataError::Setting { setting: "dataset_config_name", reason });
            }
            let name = path.to_string_lossy().into_owned();
            folder.files.insert(name.clone(), path.into());
            return Ok((folder, DatasetFiles { train: vec![name], held_out: Ok(None) }));
        }
        if !path.is_dir() {
            return Err(DataError::file(path, "no such parquet file or folder"));
        }
        folder.collect(path, "", &mut HashSet::new())?;
        let readme = match folder.files.get(README) {
            Some(path) => Some(read_text(path, MAX_CONFIG_BYTES).map_err(|error| DataError::file(path, error))?),
            None => None,
        };
        let paths: Vec<String> = folder.files.keys().cloned().collect();
        let files = choose_files(&paths, readme.as_deref(), config).map_err(|error| error.inside(path))?;
        Ok((folder, files))
    }

    /// Lists files, those behind links too; a folder that links lead to again is left out.
    fn collect(&mut self, folder: &Path, prefix: &str, seen: &mut HashSet<PathBuf>) -> Result<()> {
        let fail = |error| DataError::file(folder, error);
        if !seen.insert(folder.canonicalize().map_err(fail)?) {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().to_string_lossy()));
            if path.is_dir() {
                self.collect(&path, &format!("{name}/"), seen)?;
            } else {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    fn open(&self, files: &[String], columns: &Columns, max_rows: Option<usize>) -> Result<Box<dyn Dataset>> {
        open_files(files, |name| Ok(self.files[name].clone()), columns, max_rows)
    }
}

/// Opens files that hold rows: parquet files in turn, as far as rows are needed, else the first table.
fn open_files(
    files: &[String],
    mut place: impl FnMut(&str) -> Result<PathBuf>,
    columns: &Columns,
    max_rows: Option<usize>,
) -> Result<Box<dyn Dataset>> {
    let mut parquet = files.iter().filter(|name| has_extension(name, &["parquet"])).peekable();
    if parquet.peek().is_some() {
        return Ok(Box::new(ParquetDataset::open(parquet.map(|name| place(name)), columns, max_rows)?));
    }
    let table = files.first().expect("invariant: a split has files");
    Ok(Box::new(TableDataset::open(&place(table)?, columns, PicturePlace::Inside)?))
}

#[cfg(test)]
mod tests;

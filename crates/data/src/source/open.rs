//! Opening what is on the disk.

use std::path::{Path, PathBuf};

use super::{Columns, Dataset, parquet::ParquetDataset, splits, table::TableDataset};
use crate::error::{DataError, Result};

/// Opens a local data set: a parquet file, or a folder with parquet files or with pictures and `metadata.jsonl` or
/// `metadata.csv`. Where files are named by split, only those of `train` are taken.
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
    if path.is_file() && has_extension(path, "parquet") {
        return Ok(Box::new(ParquetDataset::open(vec![path.into()], columns)?));
    }
    let files = splits::of_training(path, files_with_rows(path)?);
    match open_files(files, columns)? {
        Some(dataset) => Ok(dataset),
        None => Err(DataError::file(path, "holds neither parquet files nor `metadata.jsonl` or `metadata.csv`")),
    }
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
    for split in splits::held_out(path, &files_with_rows(path)?) {
        if let Some(dataset) = open_files(split, columns)? {
            return Ok(Some(dataset));
        }
    }
    Ok(None)
}

/// Opens a file with one JSON object a line; paths are relative to the file.
///
/// # Errors
/// A broken file or line, or a column that is not there.
pub fn open_jsonl(path: &Path, columns: &Columns) -> Result<Box<dyn Dataset>> {
    Ok(Box::new(TableDataset::open(path, columns)?))
}

pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|error| DataError::file(folder, error))? {
        let path = entry.map_err(|error| DataError::file(folder, error))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The files of a folder that hold rows, sorted: parquet files and tables, not pictures.
fn files_with_rows(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Err(DataError::file(folder, "no such parquet file or folder"));
    }
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.retain(|file| has_extension(file, "parquet") || is_table(file));
    files.sort();
    Ok(files)
}

fn is_table(file: &Path) -> bool {
    let is_metadata = file.file_stem().is_some_and(|stem| stem == "metadata");
    is_metadata && (has_extension(file, "jsonl") || has_extension(file, "csv"))
}

/// The data set that is among files that hold rows: parquet files, else a table.
fn open_files(files: Vec<PathBuf>, columns: &Columns) -> Result<Option<Box<dyn Dataset>>> {
    let (parquet_files, tables): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| has_extension(file, "parquet"));
    if !parquet_files.is_empty() {
        return Ok(Some(Box::new(ParquetDataset::open(parquet_files, columns)?)));
    }
    match tables.first() {
        Some(file) => Ok(Some(Box::new(TableDataset::open(file, columns)?))),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of pictures with these names, each a row of `metadata.jsonl` in `folder`.
    fn write_rows(folder: &Path, pictures: &[&str]) {
        std::fs::create_dir_all(folder).unwrap();
        let line = |name: &&str| {
            std::fs::write(folder.join(name), "a picture").unwrap();
            format!("{{\"file_name\": \"{name}\", \"conditioning_image\": \"{name}\", \"text\": \"{name}\"}}\n")
        };
        std::fs::write(folder.join("metadata.jsonl"), pictures.iter().map(line).collect::<String>()).unwrap();
    }

    fn rows(dataset: &dyn Dataset) -> Vec<String> {
        (0..dataset.len()).map(|row| dataset.row(row).unwrap().captions.concat()).collect()
    }

    #[test]
    fn names_of_pictures_make_no_split() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["train_001.png", "trainer.jpg", "val_1.png", "other.png"];
        write_rows(folder.path(), &names);
        let dataset = open_dataset(folder.path(), &Columns::default()).unwrap();
        assert_eq!(rows(&*dataset), names);
        assert!(open_held_out(folder.path(), &Columns::default()).unwrap().is_none());
    }

    #[test]
    fn splits_are_told_apart_by_the_files_that_hold_rows() {
        let folder = tempfile::tempdir().unwrap();
        write_rows(&folder.path().join("train"), &["val_1.png", "test.png"]);
        let open = || open_held_out(folder.path(), &Columns::default()).unwrap().map(|dataset| rows(&*dataset));
        assert_eq!(open(), None, "pictures are no split");
        write_rows(&folder.path().join("test"), &["train_1.png"]);
        assert_eq!(open().unwrap(), ["train_1.png"]);
        write_rows(&folder.path().join("validation"), &["2.png"]);
        assert_eq!(open().unwrap(), ["2.png"]);
        let train = open_dataset(folder.path(), &Columns::default()).unwrap();
        assert_eq!(rows(&*train), ["val_1.png", "test.png"]);
    }
}

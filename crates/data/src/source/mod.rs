//! Where rows come from: parquet in the Hugging Face form, JSON lines, folders of pictures with metadata.

mod parquet;
mod table;

use std::path::{Path, PathBuf};

use cogview4_control_pipeline::decode_image;
use image::RgbImage;

use crate::error::{DataError, Result};

/// A data set of rows that can be read in any order, by several threads.
pub trait Dataset: Send + Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a row; pictures are not decoded yet.
    ///
    /// # Errors
    /// A row that cannot be read; named by file and number.
    fn row(&self, index: usize) -> Result<Row>;

    /// File and number (from 1) of a row, for messages.
    fn place(&self, index: usize) -> (PathBuf, usize);
}

/// Names of the columns that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// `--image_column`.
    pub image: String,
    /// `--conditioning_image_column`.
    pub conditioning_image: String,
    /// `--caption_column`.
    pub caption: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self { image: "image".into(), conditioning_image: "conditioning_image".into(), caption: "text".into() }
    }
}

impl Columns {
    /// Checks that all are among the columns of a data set.
    fn check(&self, available: &[String]) -> Result<()> {
        for (flag, column) in [
            ("--image_column", &self.image),
            ("--conditioning_image_column", &self.conditioning_image),
            ("--caption_column", &self.caption),
        ] {
            if !available.contains(column) {
                return Err(DataError::Column { flag, column: column.clone(), available: available.join(", ") });
            }
        }
        Ok(())
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The picture to learn.
    pub image: Picture,
    /// The control image.
    pub conditioning_image: Picture,
    /// The captions, one at least.
    pub captions: Vec<String>,
}

/// A picture that is not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picture {
    /// An encoded picture.
    Bytes(Vec<u8>),
    /// A file.
    File(PathBuf),
}

impl Picture {
    /// The encoded picture.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File(path) => std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display())),
        }
    }

    /// Decodes a picture, upright and as RGB.
    ///
    /// # Errors
    /// What is not a picture, is broken, or too large.
    pub fn decode(bytes: Vec<u8>) -> Result<RgbImage, String> {
        decode_image(bytes)
    }
}

/// Opens a local data set: a parquet file, or a folder with parquet files or with pictures and `metadata.jsonl` or
/// `metadata.csv`. Where files are named by split, only those of `train` are taken.
///
/// # Errors
/// Nothing that is a data set, a broken file, or a column that is not there.
pub fn open_dataset(path: &Path, columns: &Columns) -> Result<Box<dyn Dataset>> {
    if path.is_file() && has_extension(path, "parquet") {
        return Ok(Box::new(parquet::ParquetDataset::open(vec![path.into()], columns)?));
    }
    if !path.is_dir() {
        return Err(DataError::file(path, "no such parquet file or folder"));
    }
    let mut files = Vec::new();
    collect(path, &mut files)?;
    files.sort();
    let parquet_files = only_train(path, files.iter().filter(|file| has_extension(file, "parquet")).cloned().collect());
    if !parquet_files.is_empty() {
        return Ok(Box::new(parquet::ParquetDataset::open(parquet_files, columns)?));
    }
    let metadata = |file: &PathBuf| file.file_stem().is_some_and(|stem| stem == "metadata");
    let tables = only_train(path, files.into_iter().filter(metadata).collect());
    match tables.iter().find(|file| has_extension(file, "jsonl") || has_extension(file, "csv")) {
        Some(file) => Ok(Box::new(table::TableDataset::open(file, columns)?)),
        None => Err(DataError::file(path, "holds neither parquet files nor `metadata.jsonl` or `metadata.csv`")),
    }
}

/// Opens a file with one JSON object a line; paths are relative to the file.
///
/// # Errors
/// A broken file or line, or a column that is not there.
pub fn open_jsonl(path: &Path, columns: &Columns) -> Result<Box<dyn Dataset>> {
    Ok(Box::new(table::TableDataset::open(path, columns)?))
}

/// The first `rows` rows of a data set.
pub fn first_rows(dataset: Box<dyn Dataset>, rows: usize) -> Box<dyn Dataset> {
    Box::new(FirstRows { dataset, rows })
}

struct FirstRows {
    dataset: Box<dyn Dataset>,
    rows: usize,
}

impl Dataset for FirstRows {
    fn len(&self) -> usize {
        self.dataset.len().min(self.rows)
    }

    fn row(&self, index: usize) -> Result<Row> {
        self.dataset.row(index)
    }

    fn place(&self, index: usize) -> (PathBuf, usize) {
        self.dataset.place(index)
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
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

/// Where some files are named by the split `train`, by their own name or a folder's, only those.
fn only_train(root: &Path, files: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_train = |file: &PathBuf| {
        let inside = file.strip_prefix(root).unwrap_or(file);
        inside.iter().any(|part| part.to_string_lossy().starts_with("train"))
    };
    if files.iter().any(is_train) { files.into_iter().filter(is_train).collect() } else { files }
}

//! Where rows come from: parquet in the Hugging Face form, JSON lines, folders of pictures with metadata.

mod parquet;
mod table;

use std::path::{Path, PathBuf};

use cogview4_control_pipeline::{decode_image, encode_png};
use image::RgbImage;

use crate::error::{DataError, Result};

/// A data set of rows that can be read in any order, by several threads. Files are opened by [`open_dataset`] and
/// [`open_jsonl`]; implement it for anything else:
///
/// ```
/// use cogview4_data::{DataError, Dataset, Picture, Row};
/// use image::{Rgb, RgbImage};
///
/// struct Colours;
///
/// impl Dataset for Colours {
///     fn len(&self) -> usize {
///         256
///     }
///
///     fn row(&self, index: usize) -> Result<Row, DataError> {
///         let picture = RgbImage::from_pixel(64, 64, Rgb([index as u8, 0, 0]));
///         Ok(Row {
///             image: Picture::from(picture),
///             conditioning_image: Picture::from(RgbImage::new(64, 64)),
///             captions: vec![format!("red, {index} of 255")],
///         })
///     }
/// }
/// ```
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
    fn place(&self, index: usize) -> (PathBuf, usize) {
        ("the data set".into(), index + 1)
    }
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

impl From<RgbImage> for Picture {
    fn from(image: RgbImage) -> Self {
        // Without pixels there is nothing to encode; decoding says so, by row.
        Self::Bytes(if image.is_empty() { Vec::new() } else { encode_png(&image) })
    }
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

    /// Reads and decodes the picture, upright and as RGB.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes) and [`decode`](Self::decode).
    pub fn open(&self) -> Result<RgbImage, String> {
        self.bytes().and_then(Self::decode)
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
        return Ok(Box::new(parquet::ParquetDataset::open(vec![path.into()], columns)?));
    }
    let files = files_of(path)?;
    let is_train = |file: &PathBuf| in_split(path, file, &["train"]);
    let files = if files.iter().any(is_train) { files.into_iter().filter(is_train).collect() } else { files };
    match open_files(files, columns)? {
        Some(dataset) => Ok(dataset),
        None => Err(DataError::file(path, "holds neither parquet files nor `metadata.jsonl` or `metadata.csv`")),
    }
}

/// Opens the validation split of a folder that has a `train` split beside it, else its test split, if there is one: rows
/// that are not trained on.
///
/// # Errors
/// As [`open_dataset`].
pub fn open_held_out(path: &Path, columns: &Columns) -> Result<Option<Box<dyn Dataset>>> {
    if !path.is_dir() {
        return Ok(None);
    }
    let files = files_of(path)?;
    if !files.iter().any(|file| in_split(path, file, &["train"])) {
        return Ok(None);
    }
    for names in [&["val", "dev"][..], &["test", "eval"]] {
        let split = files.iter().filter(|file| in_split(path, file, names) && !in_split(path, file, &["train"]));
        if let Some(dataset) = open_files(split.cloned().collect(), columns)? {
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
    Ok(Box::new(table::TableDataset::open(path, columns)?))
}

impl Dataset for Box<dyn Dataset> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn row(&self, index: usize) -> Result<Row> {
        (**self).row(index)
    }

    fn place(&self, index: usize) -> (PathBuf, usize) {
        (**self).place(index)
    }
}

/// What a run is given: rows to train on, and rows that are only measured on.
pub struct TrainData {
    /// Rows to train on.
    pub train: Box<dyn Dataset>,
    /// Rows that are never trained on; `None` measures on rows that are.
    pub held_out: Option<Box<dyn Dataset>>,
}

impl std::fmt::Debug for TrainData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held_out = self.held_out.as_ref().map(|dataset| dataset.len());
        f.debug_struct("TrainData").field("train", &self.train.len()).field("held_out", &held_out).finish()
    }
}

impl TrainData {
    /// Rows to measure on that are not trained on.
    #[must_use]
    pub fn held_out(mut self, dataset: impl Dataset + 'static) -> Self {
        self.held_out = Some(Box::new(dataset));
        self
    }
}

impl<D: Dataset + 'static> From<D> for TrainData {
    fn from(dataset: D) -> Self {
        Self { train: Box::new(dataset), held_out: None }
    }
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

/// All files of a folder, sorted.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Err(DataError::file(folder, "no such parquet file or folder"));
    }
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    Ok(files)
}

/// The data set that is among the files: parquet files, else a table.
fn open_files(files: Vec<PathBuf>, columns: &Columns) -> Result<Option<Box<dyn Dataset>>> {
    let (parquet_files, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| has_extension(file, "parquet"));
    if !parquet_files.is_empty() {
        return Ok(Some(Box::new(parquet::ParquetDataset::open(parquet_files, columns)?)));
    }
    let is_table = |file: &&PathBuf| {
        let is_metadata = file.file_stem().is_some_and(|stem| stem == "metadata");
        is_metadata && (has_extension(file, "jsonl") || has_extension(file, "csv"))
    };
    match others.iter().find(is_table) {
        Some(file) => Ok(Some(Box::new(table::TableDataset::open(file, columns)?))),
        None => Ok(None),
    }
}

/// Whether a file is named by a split, by its own name or a folder's: a name that begins as one of `names`.
fn in_split(root: &Path, file: &Path, names: &[&str]) -> bool {
    let inside = file.strip_prefix(root).unwrap_or(file);
    inside.iter().any(|part| names.iter().any(|name| part.to_string_lossy().starts_with(name)))
}

//! What a data set is, and the sets that are made of others.

use std::path::PathBuf;

use super::Row;
use crate::error::Result;

/// A data set of rows that can be read in any order, by several threads. Files are opened by
/// [`open_dataset`](crate::open_dataset) and [`open_jsonl`](crate::open_jsonl); implement it for anything else:
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

    /// Names of all columns, those that are not used too; none where rows do not come from a table.
    fn columns(&self) -> Vec<String> {
        Vec::new()
    }
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

    fn columns(&self) -> Vec<String> {
        (**self).columns()
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

    fn columns(&self) -> Vec<String> {
        self.dataset.columns()
    }
}

/// What a run is given: rows to train on, and rows that are only measured on.
pub struct TrainData {
    /// Rows to train on.
    pub train: Box<dyn Dataset>,
    /// Rows that are never trained on; `None` measures on rows that are.
    pub held_out: Option<Box<dyn Dataset>>,
    /// Why rows that were meant to be held out are not there: they cannot be read.
    pub held_out_error: Option<String>,
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
        Self { train: Box::new(dataset), held_out: None, held_out_error: None }
    }
}

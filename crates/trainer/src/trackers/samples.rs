//! Rows of the data set, to be looked at.

use cogview4_control_pipeline::{Filter, resize};
use image::{GenericImage, RgbImage};

use crate::{config::TrainConfig, error::Result, samples::Rows};

/// Rows that are shown.
const DATASET_SAMPLES: usize = 8;

/// A row of the data set, to be looked at.
pub(crate) struct DatasetSample {
    pub name: String,
    pub caption: String,
    /// Picture and control image, as training sees them.
    pub pictures: [RgbImage; 2],
}

/// Rows spread over the data set.
pub(crate) fn dataset_samples(rows: &Rows, config: &TrainConfig) -> Result<Vec<DatasetSample>> {
    let side = config.recipe.resolution;
    let sample = |row: usize| {
        let pictures = rows.pictures(row)?.map(|picture| resize(&picture, side, side, Filter::Bilinear));
        Ok(DatasetSample { name: format!("row {}", row + 1), caption: rows.caption(row).into(), pictures })
    };
    let count = if config.log_dataset_samples { DATASET_SAMPLES } else { 0 };
    rows.spread_rows(count).into_iter().map(sample).collect()
}

impl DatasetSample {
    /// Control image and picture in one.
    pub(super) fn side_by_side(&self) -> RgbImage {
        let [picture, control] = &self.pictures;
        let (width, height) = picture.dimensions();
        let mut both = RgbImage::new(2 * width, height);
        for (left, image) in [(0, control), (width, picture)] {
            both.copy_from(image, left, 0).expect("invariant: both are as large as a half");
        }
        both
    }
}

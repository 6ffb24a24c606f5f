//! What a tracker is, and what it is given.

use std::path::{Component, Path};

use cogview4_control_pipeline::open_image;
use image::RgbImage;

use super::samples::DatasetSample;
use crate::{
    error::{Result, TrainError},
    metrics::{StepMetrics, Validation},
    validation::ControlPicture,
};

/// Told of all that a run measures.
pub(crate) trait Tracker {
    /// After each optimiser step.
    fn step(&mut self, metrics: &StepMetrics) -> Result<()>;

    /// After each validation; its pictures are written already.
    fn validation(&mut self, validation: &Validation) -> Result<()>;

    /// Before a checkpoint: what was told so far lasts as long as that does.
    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    /// At the end; `state` says how it ended.
    fn finish(&mut self, state: &'static str) -> Result<()> {
        let _ = state;
        Ok(())
    }
}

/// What trackers show beside the measurements.
pub(crate) struct Shown<'a> {
    pub controls: &'a [ControlPicture],
    pub samples: &'a [DatasetSample],
    /// Rows that are trained on.
    pub rows: usize,
    /// Seed of the run, drawn or given.
    pub seed: u64,
}

/// Reads a picture of the run; only what lies in the output folder.
pub(super) fn read_image(output_dir: &Path, file: &Path) -> Result<RgbImage> {
    let path = output_dir.join(file);
    if file.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(TrainError::checkpoint(path, "is not in the output folder"));
    }
    Ok(open_image(path)?)
}

//! What a run writes of itself: JSON lines, TensorBoard's files and the report.

mod json_lines;
mod report;
mod tensorboard;

use std::path::Path;

use cogview4_control_pipeline::{Filter, load_image, resize};
use image::{GenericImage, RgbImage};

use self::{json_lines::JsonLines, report::Report, tensorboard::TensorBoard};
use crate::{
    config::TrainConfig,
    error::Result,
    run::callbacks::StepMetrics,
    samples::rows::Loader,
    validation::{ControlPicture, FOLDER, Validation},
};

/// Rows that `--log_dataset_samples` shows.
const DATASET_SAMPLES: usize = 8;

/// A row of the data set, to be looked at.
pub(crate) struct DatasetSample {
    pub name: String,
    pub caption: String,
    /// Picture and control image, as training sees them.
    pub pictures: [RgbImage; 2],
}

/// Rows spread over the data set.
pub(crate) fn dataset_samples(loader: &Loader, config: &TrainConfig) -> Result<Vec<DatasetSample>> {
    let side = config.numerics.resolution;
    let sample = |row: usize| {
        let pictures = loader.pictures(row)?.map(|picture| resize(&picture, side, side, Filter::Bilinear));
        Ok(DatasetSample { name: format!("row {}", row + 1), caption: loader.caption(row).into(), pictures })
    };
    let count = if config.log_dataset_samples { DATASET_SAMPLES } else { 0 };
    loader.spread_rows(count).into_iter().map(sample).collect()
}

/// All trackers of a run.
pub(crate) struct Trackers {
    metrics: JsonLines,
    validations: JsonLines,
    /// Steps whose validation is written.
    validated: Vec<usize>,
    tensorboard: Option<TensorBoard>,
    report: Report,
    output_dir: std::path::PathBuf,
}

impl Trackers {
    /// Begins, or goes on after `steps` steps.
    pub(crate) fn open(
        config: &TrainConfig,
        (steps, total_steps): (usize, usize),
        controls: &[ControlPicture],
        samples: &[DatasetSample],
    ) -> Result<Self> {
        let (metrics, earlier_metrics) = JsonLines::open(&config.output_dir.join("metrics.jsonl"), steps)?;
        let (validations, earlier_validations) =
            JsonLines::open::<Validation>(&config.output_dir.join("validation.jsonl"), steps)?;
        let validated = earlier_validations.iter().map(|validation| validation.step).collect();
        let mut report = Report::new(config, total_steps, controls, samples);
        report.restore(earlier_metrics, earlier_validations);
        let mut tensorboard = None;
        if let Some(folder) = config.tensorboard_folder() {
            let mut board = TensorBoard::create(&folder, steps)?;
            board.text(steps, "config", &format!("```json\n{}\n```", config.to_json()))?;
            for (number, control) in controls.iter().enumerate() {
                board.image(steps, &format!("{FOLDER}/{}/control", number + 1), &control.image)?;
            }
            for sample in samples {
                let tag = format!("dataset/{}", sample.name.replace(' ', "_"));
                board.image(steps, &tag, &side_by_side(&sample.pictures))?;
                board.text(steps, &tag, &sample.caption)?;
            }
            tensorboard = Some(board);
        }
        let output_dir = config.output_dir.clone();
        Ok(Self { metrics, validations, validated, tensorboard, report, output_dir })
    }

    pub(crate) fn is_validated(&self, step: usize) -> bool {
        self.validated.contains(&step)
    }

    pub(crate) fn on_step_end(&mut self, metrics: &StepMetrics) -> Result<()> {
        self.metrics.append(metrics)?;
        if let Some(board) = &mut self.tensorboard {
            let scalars = [
                ("loss", metrics.loss),
                ("lr", metrics.lr),
                ("grad_norm", metrics.grad_norm),
                ("samples_per_second", metrics.samples_per_second),
            ];
            board.scalars(metrics.step, &scalars)?;
        }
        self.report.add_step(metrics)
    }

    pub(crate) fn on_validation_end(&mut self, validation: &Validation) -> Result<()> {
        self.validations.append(validation)?;
        self.validated.push(validation.step);
        if let Some(board) = &mut self.tensorboard {
            let scalars: Vec<(&str, f64)> = [
                ("validation/loss_true", validation.loss_true),
                ("validation/loss_shuffled", validation.loss_shuffled),
                ("validation/loss_zero", validation.loss_zero),
                ("validation/control_gain", validation.control_gain),
                ("validation/control_norm", Some(validation.control_norm)),
                ("validation/edge_f1", validation.edge_f1),
                ("validation/edge_f1_shuffled", validation.edge_f1_shuffled),
            ]
            .into_iter()
            .filter_map(|(tag, value)| Some((tag, value?)))
            .collect();
            board.scalars(validation.step, &scalars)?;
            for image in &validation.images {
                let tag = format!("{FOLDER}/{}/{}", image.pair, image.repeat);
                board.image(validation.step, &tag, &read(&self.output_dir.join(&image.file))?)?;
            }
        }
        self.report.add_validation(validation)
    }

    pub(crate) fn finish(&mut self, state: &'static str) -> Result<()> {
        self.report.finish(state)
    }
}

fn read(path: &Path) -> Result<RgbImage> {
    Ok(load_image(&path.display().to_string())?)
}

/// Control image and picture in one.
fn side_by_side([picture, control]: &[RgbImage; 2]) -> RgbImage {
    let (width, height) = picture.dimensions();
    let mut both = RgbImage::new(2 * width, height);
    for (left, image) in [(0, control), (width, picture)] {
        both.copy_from(image, left, 0).expect("invariant: both are as large as a half");
    }
    both
}

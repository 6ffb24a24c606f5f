//! What a run writes of itself, one tracker each: JSON lines, TensorBoard's files, W&B's, the report, the model card. A
//! further one is a file here that implements [`Tracker`], and a line in [`Trackers::open`].

mod card;
mod json_lines;
mod report;
mod samples;
mod tensorboard;
mod tracker;
mod wandb;

use std::path::{Path, PathBuf};

use self::{card::Card, json_lines::JsonLines, report::Report, tensorboard::TensorBoard, wandb::Wandb};
use crate::{
    config::{TrackerKind, TrainConfig},
    error::Result,
    metrics::{Outliers, StepMetrics, Validation},
    validation::FOLDER,
};

pub(crate) use card::FILES as CARD_FILES;
pub(crate) use json_lines::check as check_lines;
pub(crate) use samples::{DatasetSample, dataset_samples};
pub(crate) use tracker::{Shown, Tracker};
pub(crate) use wandb::{parts as wandb_parts, run_id as wandb_run_id};

/// All trackers of a run; none where another process tracks.
#[derive(Default)]
pub(crate) struct Trackers {
    all: Vec<Box<dyn Tracker>>,
    outliers: Outliers,
    /// Steps whose validation is written.
    validated: Vec<usize>,
    /// The folder of W&B's run.
    wandb_run: Option<PathBuf>,
}

impl Trackers {
    /// Begins, or goes on after `step` steps of `total_steps`.
    pub(crate) fn open(config: &TrainConfig, step: usize, total_steps: usize, shown: &Shown<'_>) -> Result<Self> {
        let (lines, earlier) = JsonLines::open(&config.output_dir, step)?;
        let validated = earlier.validations.iter().map(|validation| validation.step).collect();
        let outliers = Outliers::after(&earlier.metrics);
        let mut all: Vec<Box<dyn Tracker>> = vec![Box::new(lines)];
        if config.report_to.contains(&TrackerKind::TensorBoard) {
            let folder = config.tensorboard_folder();
            let mut board = TensorBoard::create(&folder, &config.output_dir, step)?;
            board.text(step, "config", &format!("```json\n{}\n```", config.to_json()))?;
            for (number, control) in shown.controls.iter().enumerate() {
                board.image(step, &format!("{FOLDER}/{}/control", number + 1), &control.image)?;
            }
            for sample in shown.samples {
                let tag = format!("dataset/{}", sample.name.replace(' ', "_"));
                board.image(step, &tag, &sample.side_by_side())?;
                board.text(step, &tag, &sample.caption)?;
            }
            all.push(Box::new(board));
        }
        let mut wandb_run = None;
        if config.report_to.contains(&TrackerKind::Wandb) {
            let wandb = Wandb::open(config, (step, total_steps), shown, &earlier)?;
            wandb_run = Some(wandb.folder().into());
            all.push(Box::new(wandb));
        }
        all.push(Box::new(Report::new(config, total_steps, shown, earlier)));
        all.push(Box::new(Card::new(config, total_steps, shown)));
        Ok(Self { all, outliers, validated, wandb_run })
    }

    /// The folder of W&B's run.
    pub(crate) fn wandb_run(&self) -> Option<&Path> {
        self.wandb_run.as_deref()
    }

    /// Whether an earlier part of the run has written the validation of this step.
    pub(crate) fn is_validated(&self, step: usize) -> bool {
        self.validated.contains(&step)
    }

    /// Holds a step against those before it, and tells all trackers.
    pub(crate) fn step(&mut self, metrics: StepMetrics) -> Result<StepMetrics> {
        let metrics = self.outliers.judge(metrics);
        self.all.iter_mut().try_for_each(|tracker| tracker.step(&metrics))?;
        Ok(metrics)
    }

    pub(crate) fn validation(&mut self, validation: &Validation) -> Result<()> {
        self.validated.push(validation.step);
        self.all.iter_mut().try_for_each(|tracker| tracker.validation(validation))
    }

    /// Brings what was told so far to the disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.all.iter_mut().try_for_each(|tracker| tracker.sync())
    }

    pub(crate) fn finish(&mut self, state: &'static str) -> Result<()> {
        self.all.iter_mut().try_for_each(|tracker| tracker.finish(state))
    }
}

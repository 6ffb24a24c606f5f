//! `README.md`, the model card: what the model is, what was measured, how it is used, and how it was trained. Written
//! at the end of a run, with `training.svg`, `image_control_N.png` and `images_N.png` beside it.

mod body;
mod front_matter;
mod keep;
mod pictures;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod usage;

use cogview4_model::files::write_atomic;
use image::RgbImage;

use self::{body::body, front_matter::front_matter, pictures::Pair};
use super::{
    json_lines::{Earlier, read},
    tracker::{Shown, Tracker},
};
use crate::{
    config::TrainConfig,
    error::Result,
    metrics::{StepMetrics, Validation},
    page::{BLUE, Line, PALE, smoothed, svg},
};

pub(crate) use keep::FILES;

/// The curves.
const PLOT: &str = "training.svg";
/// Smoothing of the loss, as in the report.
const DECAY: f64 = 0.9;

/// All that a card says beside what was measured, which is read from the run's own files.
pub(crate) struct Card {
    config: TrainConfig,
    total_steps: usize,
    /// Rows that were trained on.
    rows: usize,
    seed: u64,
    /// Prompts and control images of the validation.
    controls: Vec<(String, RgbImage)>,
}

impl Card {
    pub(crate) fn new(config: &TrainConfig, total_steps: usize, shown: &Shown<'_>) -> Self {
        let controls = shown.controls.iter().map(|control| (control.prompt.clone(), control.image.clone()));
        Self { config: config.clone(), total_steps, rows: shown.rows, seed: shown.seed, controls: controls.collect() }
    }

    fn write(&self, state: &str) -> Result<()> {
        let folder = &self.config.output_dir;
        let measured = read(folder)?;
        let Some(step) = measured.metrics.last().map(|metrics| metrics.step) else { return Ok(()) };
        let pairs = self.write_pictures(&measured)?;
        let has_plot = self.write_plot(&measured)?;
        let prompts: Vec<(String, &str)> =
            pairs.iter().map(|pair| (pair.images.clone(), pair.prompt.as_str())).collect();
        let weights = match state {
            "finished" => None,
            _ => Some(format!("checkpoint-{step}/transformer")),
        };
        let found = Found { measured: &measured, pairs: &pairs, step, weights: weights.as_deref(), has_plot };
        keep::write(folder, &(front_matter(self, &prompts) + "\n" + &body(self, &found)))
    }

    /// Loss, and control gain where there is one; false where nothing can be drawn.
    fn write_plot(&self, measured: &Earlier) -> Result<bool> {
        let loss: Vec<(f64, f64)> = measured.metrics.iter().map(|found| (found.step as f64, found.loss)).collect();
        let gain = |found: &Validation| Some((found.step as f64, 100.0 * found.control_gain?));
        let gain: Vec<(f64, f64)> = measured.validations.iter().filter_map(gain).collect();
        let line = |name, color, width, points| Line { name, color, width, points };
        let smooth = smoothed(&loss, DECAY);
        let losses = [line("each step", PALE, 1, loss), line("smoothed", BLUE, 2, smooth)];
        let gains = [line("", BLUE, 2, gain)];
        let plots: [(&str, &[Line<'_>]); 2] = [("Loss", &losses), ("Control gain in percent", &gains)];
        let shown = if gains[0].points.is_empty() { 1 } else { 2 };
        let Ok(svg) = svg(&plots[..shown]) else { return Ok(false) };
        write_atomic(&self.config.output_dir.join(PLOT), svg.as_bytes())?;
        Ok(true)
    }
}

impl Tracker for Card {
    fn step(&mut self, _: &StepMetrics) -> Result<()> {
        Ok(())
    }

    fn validation(&mut self, _: &Validation) -> Result<()> {
        Ok(())
    }

    /// A run that failed has no model to speak of; the card of an earlier part of it stays.
    fn finish(&mut self, state: &'static str) -> Result<()> {
        if state == "failed" { Ok(()) } else { self.write(state) }
    }
}

/// What is there at the end of a run.
struct Found<'a> {
    measured: &'a Earlier,
    pairs: &'a [Pair],
    /// Steps made.
    step: usize,
    /// Where the weights are, in the output folder, if not in it itself: the run was stopped.
    weights: Option<&'a str>,
    has_plot: bool,
}

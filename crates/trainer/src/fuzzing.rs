//! What fuzzing (`fuzz/`) reaches of this crate's readers where no public function leads to them without a model.

use std::path::Path;

use burn::tensor::Device;
use cogview4_model::nn::Linear;

use crate::{
    checkpoint::Checkpoint,
    config::{MAX_COUNT, Resume, TrackerKind, TrainConfig},
    error::{Result, make_folder},
    metrics::StepMetrics,
    optimizer::{AdamW, AdamWConfig, StateOptions},
    trackers::{Shown, Trackers, check_lines},
};

/// Features of the layer that state is restored to: enough for moments in 8 bits.
const WIDTH: usize = 64;

/// Reads all of a checkpoint but its weights, as a run does that resumes from it, for a model of one layer.
///
/// # Errors
/// What is broken, or of other settings.
pub fn read_checkpoint(output_dir: &Path, folder: &Path) -> Result<()> {
    let mut config = TrainConfig::new("model", output_dir);
    (config.resume, config.allow_config_change) = (Some(Resume::Checkpoint(folder.into())), true);
    let mut notes = Vec::new();
    let Some(found) = Checkpoint::find(&config, &mut notes)? else { return Ok(()) };
    found.check_settings(&config, (100, 2), &mut notes)?;
    found.check_data("", &config)?;
    let stored = found.open_state()?;
    for use_8bit in [false, true] {
        let options = StateOptions { use_8bit, ..StateOptions::default() };
        let mut optimizer = AdamW::with_options(AdamWConfig::default(), options)?;
        stored.restore("", Linear::init(WIDTH, WIDTH, &Device::default()), &config, &mut optimizer)?;
    }
    Ok(())
}

/// Goes on with the lines of an output folder, and writes everything that shows them.
///
/// # Errors
/// Files that are none of a run, and whatever cannot be written.
pub fn track(output_dir: &Path) -> Result<()> {
    let mut config = TrainConfig::new("model", output_dir);
    config.report_to = TrackerKind::all();
    make_folder("logging_dir", &config.tensorboard_folder())?;
    make_folder("wandb_dir", &config.wandb_folder())?;
    check_lines(output_dir)?;
    let shown = Shown { controls: &[], samples: &[], rows: 8, seed: 7 };
    let mut trackers = Trackers::open(&config, MAX_COUNT, MAX_COUNT, &shown)?;
    let next: StepMetrics = serde_json::from_str(NEXT).expect("invariant: a line of a step");
    trackers.step(StepMetrics { step: MAX_COUNT, ..next })?;
    trackers.sync()?;
    trackers.finish("finished")
}

/// A step that is made after those that are read.
const NEXT: &str =
    r#"{"step": 1, "loss": 0.5, "lr": 1e-3, "grad_norm": 1.0, "samples_per_second": 1.0, "peak_memory_bytes": 1}"#;

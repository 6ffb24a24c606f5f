//! What a run writes, checked before work begins.

use cogview4_model::files::check_writable;

use crate::{
    config::{TrackerKind, TrainConfig},
    error::{Result, make_folder},
    trackers::{CARD_FILES, check_lines},
    validation,
};

/// Makes the folders, and checks that what the run will write can be written.
pub(super) fn check_outputs(config: &TrainConfig) -> Result<()> {
    if config.report_to.contains(&TrackerKind::TensorBoard) {
        make_folder("logging_dir", &config.tensorboard_folder())?;
    }
    if config.report_to.contains(&TrackerKind::Wandb) {
        let folder = config.wandb_folder();
        make_folder("report_to", &folder)?;
        check_writable(&folder.join("run.wandb"))?;
    }
    let result = ["config.json", "diffusion_pytorch_model.safetensors"];
    for file in ["metrics.jsonl", "validation.jsonl", "report.html"].into_iter().chain(result).chain(CARD_FILES) {
        check_writable(&config.output_dir.join(file))?;
    }
    check_lines(&config.output_dir)?;
    validation::check_folder(config)?;
    if let Some(pack) = config.pack_folder() {
        make_folder("pack_dir", &pack)?;
    }
    config.dump_step.iter().try_for_each(|path| Ok(check_writable(path)?))
}

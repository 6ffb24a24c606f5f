//! Whether what a run will write fits on the disk.

use std::path::Path;

use cogview4_model::CogView4TransformerConfig;

use crate::{
    checkpoint::list,
    config::TrainConfig,
    error::{Result, TrainError},
    samples::encoders::Encoders,
};

/// Weights and two moments, f32.
const CHECKPOINT_BYTES_PER_PARAMETER: u64 = 3 * 4;

/// Checks that the pack and one checkpoint more than are kept have room.
///
/// # Errors
/// Too little space; says how much is needed.
pub(crate) fn check(
    config: &TrainConfig,
    encoders: &Encoders,
    rows: usize,
    transformer: &CogView4TransformerConfig,
) -> Result<()> {
    let checkpoint = CHECKPOINT_BYTES_PER_PARAMETER * parameters(transformer);
    let kept = config.checkpoints_total_limit.map_or(1, |limit| limit as u64);
    let there = list(&config.output_dir)?.len() as u64;
    check_folder(&config.output_dir, "--output_dir", checkpoint * (kept + 1).saturating_sub(there).max(1))?;
    if let Some(pack) = &config.pack_folder() {
        let vae = encoders.vae_config();
        let side = config.numerics.resolution as u64 / vae.scale_factor() as u64;
        let moments = 2 * vae.latent_channels as u64 * side * side * size_of::<f32>() as u64;
        let packed = std::fs::metadata(pack.join("pack.bin")).map_or(0, |metadata| metadata.len());
        check_folder(pack, "--pack_dir", (2 * moments * rows as u64).saturating_sub(packed))?;
    }
    Ok(())
}

fn parameters(config: &CogView4TransformerConfig) -> u64 {
    let width = config.inner_dim() as u64;
    // A block: modulations, four projections of the attention, the feed-forward.
    config.num_layers as u64 * width * (12 * config.time_embed_dim as u64 + 4 * width + 8 * width)
}

fn check_folder(folder: &Path, flag: &'static str, needed: u64) -> Result<()> {
    let available = fs4::available_space(folder)
        .map_err(|error| TrainError::flag(flag, format!("{}: {error}", folder.display())))?;
    if available < needed {
        let reason = format!("{} needs {needed} bytes, {available} are free", folder.display());
        return Err(TrainError::flag(flag, reason));
    }
    Ok(())
}

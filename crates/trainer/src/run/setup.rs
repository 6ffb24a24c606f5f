//! From settings to a run that can begin, in four steps: open, check, pack, and [`load`](super::load). Whatever can be known in a step is
//! refused in it, so hours of packing never end in a setting that was wrong from the start.

use std::{
    ffi::OsString,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
};

use burn::tensor::Device;
use cogview4_control_pipeline::{PipelineConfigs, PipelineFolder, progress_bar};
use cogview4_data::{Dataset, FolderLock, ImageTransform, Pack, TrainData, first_rows};
use cogview4_model::weights::Int8;

use super::{
    outputs::check_outputs,
    planning::{order, planner_of, read, total_steps},
};
use crate::{
    checkpoint::{self, Checkpoint},
    config::{TrainConfig, ZeroStage},
    distributed::Group,
    error::{Result, TrainError, make_folder},
    plan::Processes,
    samples::{Captions, Encoders, PackedSamples, RecordShapes, Rows, SampleEncoder, Share},
    schedule::order::SampleOrder,
    stop::StopFlag,
    trackers::{DatasetSample, dataset_samples},
    validation::{ControlPicture, FOLDER, Probe, ProbeRows, Validator, load_controls},
};

/// The folder that a run writes to while it has it for itself.
pub(crate) const LOCK: &str = ".lock";

/// What a run reads, opened: configurations and the checkpoint's state, no weights.
pub(super) struct Opened {
    /// Nobody else writes to the output folder while the first process has this.
    pub _lock: Option<FolderLock>,
    pub device: Device,
    pub folder: PipelineFolder,
    pub configs: PipelineConfigs,
    pub checkpoint: Option<Checkpoint>,
    pub controls: Vec<ControlPicture>,
    /// The seed of a run that is given none.
    pub new_seed: u64,
    /// What a person should know before the run begins.
    pub notes: Vec<String>,
}

pub(super) fn open(config: &TrainConfig, group: &Group, stop: &StopFlag) -> Result<Opened> {
    group.agree("checking the settings", config.check())?;
    let lock = group.first("opening the output folder", stop, || {
        make_folder("output_dir", &config.output_dir)?;
        let in_use = || TrainError::InUse { path: config.output_dir.clone() };
        let lock = FolderLock::acquire(&config.output_dir, LOCK)?.ok_or_else(in_use)?;
        checkpoint::tidy(&config.output_dir, FOLDER)?;
        Ok(lock)
    })?;
    let (checkpoint, notes) = find_checkpoint(config, group, stop)?;
    let opened = || {
        let device = config.device.open()?;
        let (folder, configs) = read(config, checkpoint.as_ref())?;
        let controls = load_controls(config)?;
        Ok((device, folder, configs, controls))
    };
    let (device, folder, configs, controls) = group.first_then_others("opening the pipeline", stop, opened)?;
    let new_seed = group.of_first("the seed", new_seed());
    Ok(Opened { _lock: lock, device, folder, configs, checkpoint, controls, new_seed, notes })
}

/// What the run resumes from, which the first process looks for, and what a person should know of it.
fn find_checkpoint(config: &TrainConfig, group: &Group, stop: &StopFlag) -> Result<(Option<Checkpoint>, Vec<String>)> {
    let mut notes = Vec::new();
    let found = group.first("reading the checkpoint", stop, || Checkpoint::find(config, &mut notes))?.flatten();
    // A path need not be text, as JSON is.
    let folder = found.as_ref().map(|found| OsString::from(&found.folder));
    let found = match (found, group.of_first("the checkpoint", folder)) {
        (None, Some(folder)) => Checkpoint::found(folder.into()).map(Some),
        (found, _) => Ok(found),
    };
    Ok((group.agree("reading the checkpoint", found)?, notes))
}

/// How long a run is, and in which order it takes its rows.
pub(super) struct Planned {
    pub order: SampleOrder,
    pub total_steps: usize,
    /// The settings, with what goes to the disk decided.
    pub config: TrainConfig,
}

/// Checks all that needs neither pictures nor weights.
pub(super) fn check(config: &TrainConfig, opened: &mut Opened, rows: usize, group: &Group) -> Result<Planned> {
    let recipe = &config.recipe;
    if rows == 0 {
        return Err(TrainError::setting("dataset_name", "the data set has no rows"));
    }
    let multiple = opened.configs.pixel_multiple();
    if !(recipe.resolution as usize).is_multiple_of(multiple) {
        let reason = format!("{} is not a multiple of {multiple}, as VAE and transformer need", recipe.resolution);
        return Err(TrainError::setting("resolution", reason));
    }
    let seed = match (&opened.checkpoint, config.seed) {
        (_, Some(seed)) => seed,
        (Some(checkpoint), None) => checkpoint.state.seed,
        (None, None) => opened.new_seed,
    };
    check_processes(config, group)?;
    let order = order(config, seed, (rows, group.size()));
    let total_steps = total_steps(config, &order, rows)?;
    Checkpoint::check_none_is_replaced(config)?;
    if let Some(checkpoint) = &opened.checkpoint {
        checkpoint.check_settings(config, (total_steps, group.size()), &mut opened.notes)?;
    }
    if group.is_first() {
        check_outputs(config)?;
    }
    let processes = Processes { size: group.size(), local: group.local_size() };
    let (parts, checkpoint) = ((&opened.folder, &opened.configs), opened.checkpoint.as_ref());
    let planner = planner_of(config, parts, checkpoint, (rows, total_steps), processes);
    let plan = planner.check(config)?;
    // What was moved to the disk may not fit other settings.
    plan.config.check()?;
    if !planner.has_room_to_stop(&plan) {
        opened.notes.push("there is no room for a checkpoint: a run that is stopped on the way is lost".into());
    }
    Ok(Planned { order, total_steps, config: plan.config })
}

/// What several processes cannot do.
fn check_processes(config: &TrainConfig, group: &Group) -> Result<()> {
    if !config.output_dir.is_dir() {
        let reason = format!("{} is not there: all machines have to share it", config.output_dir.display());
        return Err(TrainError::setting("output_dir", reason));
    }
    if group.size() > 1 && config.background_saves {
        return Err(TrainError::setting(
            "background_saves",
            "is of one process: several write at the same time anyway",
        ));
    }
    if group.size() > 1 && config.recipe.optimizer_in_backward {
        let reason = "is of one process: several keep no more than their part of the gradients as it is";
        return Err(TrainError::setting("optimizer_in_backward", reason));
    }
    if group.size() > 1 && config.zero_stage == ZeroStage::One && config.files_gradients() {
        let reason = "needs `zero_stage` 2, of which there are sums of the own gradients alone";
        return Err(TrainError::setting("gradient_offload", reason));
    }
    Ok(())
}

/// Rows that are read and packed, and what is made of some of them before the models that encode are let go.
pub(super) struct Packed {
    pub rows: Arc<Rows>,
    pub encoder: SampleEncoder,
    pub validator: Validator,
    pub samples: Vec<DatasetSample>,
}

pub(super) fn pack(
    config: &TrainConfig,
    opened: &mut Opened,
    data: TrainData,
    (group, stop): (&Group, &StopFlag),
) -> Result<Packed> {
    let mut encoder = encoder(config, opened)?;
    let share = Share { rank: group.rank(), size: group.size() };
    let prepare = |dataset: Box<dyn Dataset>, encoder: &SampleEncoder| {
        let what = if encoder.packed.is_some() { "packing" } else { "checking" };
        let progress = progress_bar(what, dataset.len(), 0, config.progress_bar && group.is_first());
        let rows = Rows::prepare(dataset, &config.recipe, (encoder, share), &progress, stop);
        progress.finish_and_clear();
        rows
    };
    let prepared = group.while_all_work("packing", stop, || {
        let rows = prepare(data.train, &encoder)?;
        if let Some(checkpoint) = &opened.checkpoint {
            checkpoint.check_data(&rows.data_hash, config)?;
        }
        // A split that is only measured on does not stop a run.
        let held_out = data.held_out.map(|held_out| prepare(first_rows(held_out, Probe::MAX_ROWS), &encoder));
        match held_out.transpose() {
            Err(TrainError::Stopped) => Err(TrainError::Stopped),
            Err(reason) => Ok((rows, None, Some(reason.to_string()))),
            Ok(held_out) => Ok((rows, held_out, data.held_out_error)),
        }
    });
    let (rows, held_out, unreadable) = prepared?;
    let controls = std::mem::take(&mut opened.controls);
    let mut probe_rows = Some((ProbeRows { train: &rows, held_out, unreadable }, controls));
    // The first packs the prompts, which the others find.
    let (samples, validator) = group.first_then_others("preparing the validation", stop, || {
        let samples = if group.is_first() { dataset_samples(&rows, config)? } else { Vec::new() };
        let (probe_rows, controls) = probe_rows.take().expect("invariant: each process does this once");
        Ok((samples, Validator::prepare(config, probe_rows, controls, (&encoder, share))?))
    })?;
    if encoder.packed.is_some() {
        // Training needs the memory; what they gave is in the pack.
        encoder.encoders.unload();
    }
    Ok(Packed { rows: Arc::new(rows), encoder, validator, samples })
}

/// The frozen models, not loaded yet, with the pack in front of them.
fn encoder(config: &TrainConfig, opened: &Opened) -> Result<SampleEncoder> {
    let (folder, configs) = (&opened.folder, &opened.configs);
    let transform = ImageTransform { resolution: config.recipe.resolution };
    let captions = Captions {
        tokenizer: Arc::new(folder.load_tokenizer()?),
        max_sequence_length: config.recipe.max_sequence_length,
    };
    let side = config.recipe.resolution as usize / configs.vae.scale_factor();
    let shapes = RecordShapes {
        moments: [2 * configs.vae.latent_channels, side, side],
        text_embed_dim: configs.transformer.text_embed_dim,
    };
    let int8 = if config.recipe.int8_text_encoder { Int8::Always } else { Int8::AsStored };
    let pack = config.pack_folder().as_deref().map(Pack::open).transpose()?;
    let packed =
        pack.map(|pack| Arc::new(PackedSamples::new(pack, folder.clone(), transform, captions.clone(), shapes, int8)));
    let encoders = Encoders::new(folder.clone(), transform, &opened.device, config.offload, int8);
    Ok(SampleEncoder { encoders, captions, packed })
}

/// A seed for a run that was given none; it is recorded in every checkpoint. Short enough to be typed again.
fn new_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

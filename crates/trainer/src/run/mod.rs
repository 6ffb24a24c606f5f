//! A whole run: open, check, pack, train, write.

pub(crate) mod callbacks;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use burn::tensor::{DType, Device};
use cogview4_data::{Dataset, Pack, TrainData, first_rows};
use cogview4_model::{
    CogView4Transformer, CogView4TransformerConfig, FlowMatchEulerSchedulerConfig, GlmConfig,
    files::check_writable,
    weights::{cast_parameters, set_trained, update_parameters},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    checkpoint::{self, State},
    config::{Resume, TrainConfig},
    error::{Result, TrainError},
    optimizer::adamw::{AdamW, clip_grad_norm},
    resources::disk,
    resources::memory::peak_memory_bytes,
    run::callbacks::{Callbacks, StepMetrics},
    samples::batch::BatchMaker,
    samples::encoders::{Encoders, FeatureSource},
    samples::rows::{Loader, Prefetch},
    schedule::order::Plan,
    step::dump::dump,
    step::gradients::GradientSink,
    step::{TrainingCopy, sizes},
    trackers::{DatasetSample, Trackers, dataset_samples},
    validation::{Probe, Validator, check_folder, load_controls},
};

/// A run that is ready to begin, or to go on.
///
/// ```no_run
/// use cogview4_data::{Columns, open_dataset};
/// use cogview4_trainer::{TrainConfig, Trainer};
///
/// let mut config = TrainConfig::new("CogView4-6B", "cogview4-control");
/// config.max_train_steps = Some(1000);
/// let data = open_dataset("open_pose_controlnet".as_ref(), &Columns::default())?;
/// let outcome = Trainer::new(config, data)?.run(&mut ())?;
/// println!("{} steps", outcome.steps);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer {
    config: TrainConfig,
    device: Device,
    loader: Arc<Loader>,
    features: FeatureSource,
    validator: Validator,
    samples: Vec<DatasetSample>,
    scheduler: FlowMatchEulerSchedulerConfig,
    model: CogView4Transformer,
    optimizer: AdamW,
    plan: Plan,
    total_steps: usize,
}

/// What a run has come to.
#[derive(Debug)]
#[non_exhaustive]
pub struct TrainOutcome {
    /// Optimiser steps made, earlier parts of the run included.
    pub steps: usize,
    /// Whether the run came to its end, and was not stopped.
    pub completed: bool,
    /// The transformer, in f32; [`PipelineLoader::transformer`](cogview4_control_pipeline::PipelineLoader::transformer)
    /// takes it.
    pub transformer: CogView4Transformer,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Trainer {
    /// Opens and checks everything, fills the pack, and loads the transformer: the base model widened to a control model,
    /// or a checkpoint. When [`TrainConfig::stop`] is set, packing ends early with [`TrainError::Stopped`]; what is packed
    /// stays.
    ///
    /// # Errors
    /// Anything that is wrong with the settings, the pipeline, the data set, or the checkpoint; nothing is trained then.
    pub fn new(config: TrainConfig, data: impl Into<TrainData>) -> Result<Self> {
        config.check()?;
        let TrainData { train, held_out } = data.into();
        if train.is_empty() {
            return Err(TrainError::flag("--dataset_name", "the data set has no rows"));
        }
        let device = config.device.open()?;
        let controls = load_controls(&config)?;
        check_outputs(&config)?;
        let numerics = &config.numerics;
        let folder = &config.pretrained_model;
        let scheduler = FlowMatchEulerSchedulerConfig::load(&folder.join("scheduler").join("scheduler_config.json"))?;
        let encoders = Encoders::open(folder, numerics.resolution, numerics.max_sequence_length, &device)?;
        let resume = resume_from(&config)?;
        let transformer_folder = match (&resume, &config.transformer) {
            (Some((checkpoint, _)), _) => checkpoint.join("transformer"),
            (None, Some(transformer)) => transformer.clone(),
            (None, None) => folder.join("transformer"),
        };
        let (is_control, is_checkpoint) = (numerics.control, resume.is_some());
        let transformer = check_transformer(&transformer_folder, &encoders, folder, is_control, is_checkpoint)?;
        check_resolution(numerics.resolution as usize, &transformer, &encoders)?;
        let pack = config.pack_folder().as_deref().map(Pack::open).transpose()?;
        space::check(&config, &encoders, train.len(), &transformer)?;

        let mut features = FeatureSource { encoders, pack };
        let prepare = |dataset: Box<dyn Dataset>, features: &mut FeatureSource| {
            let what = if features.pack.is_some() { "packing" } else { "checking" };
            let progress = progress_bar(what, dataset.len(), 0, config.progress_bar);
            let loader = Loader::prepare(dataset, numerics, features, (&progress, &config.stop));
            progress.finish_and_clear();
            loader
        };
        let loader = prepare(train, &mut features)?;
        let held_out = held_out.map(|held_out| prepare(first_rows(held_out, Probe::MAX_ROWS), &mut features));
        let held_out = match held_out.transpose() {
            Err(TrainError::Stopped) => return Err(TrainError::Stopped),
            held_out => held_out,
        };
        let samples = dataset_samples(&loader, &config)?;
        let validator = Validator::prepare(&config, (&loader, held_out), controls, &mut features, &device)?;
        if features.pack.is_some() {
            // Training needs the memory; what they gave is in the pack.
            features.encoders.unload();
        }

        let seed = match (&resume, config.seed) {
            (_, Some(seed)) => seed,
            (Some((_, state)), None) => state.seed,
            (None, None) => draw_seed(),
        };
        let samples_per_step = numerics.train_batch_size * numerics.gradient_accumulation_steps;
        let plan = Plan::new(seed, loader.len(), samples_per_step);
        let total_steps = config.max_train_steps.unwrap_or(config.num_train_epochs * plan.steps_per_epoch());

        let model = CogView4Transformer::load(&transformer_folder, DType::F32, &device)?;
        let is_base = model.config().in_channels == features.encoders.vae_config().latent_channels;
        let model = if is_base && config.numerics.control { model.widen_input() } else { model };
        let model = set_trained(model, |key| numerics.is_trained(key));
        let (model, optimizer) = match &resume {
            Some((folder, state)) => {
                let optimizer = checkpoint::read_optimizer(folder, state)?;
                let model = checkpoint::restore_masters(model, folder)?;
                let trainer_state = (&loader.data_hash, seed, total_steps);
                check_resumable(&config, folder, state, trainer_state, &model)?;
                (model, optimizer)
            }
            None => (model, AdamW::new(numerics.adam)),
        };
        let loader = Arc::new(loader);
        Ok(Self {
            device,
            loader,
            features,
            validator,
            samples,
            scheduler,
            model,
            optimizer,
            plan,
            total_steps,
            config,
        })
    }

    /// Trains to the end, or until it is asked to stop: then the step is finished and a checkpoint written.
    ///
    /// # Errors
    /// A file that cannot be read or written; checkpoints that were written stay.
    pub fn run(mut self, callbacks: &mut impl Callbacks) -> Result<TrainOutcome> {
        let steps = (self.optimizer.steps, self.total_steps);
        let mut trackers = Trackers::open(&self.config, steps, self.validator.controls(), &self.samples)?;
        let progress = progress_bar("training", self.total_steps, self.optimizer.steps, self.config.progress_bar);
        let mut last_checkpoint = self.optimizer.steps;
        let workers = self.config.dataloader_num_workers;
        let loader = Arc::clone(&self.loader);
        let mut samples = Prefetch::start(loader, &self.plan, self.optimizer.steps, self.total_steps, workers);
        while self.optimizer.steps < self.total_steps {
            if self.optimizer.steps.is_multiple_of(self.config.validation.steps) {
                self.validate(&mut trackers, callbacks, &progress)?;
            }
            let measured = self.step(&mut samples)?;
            trackers.on_step_end(&measured)?;
            if callbacks.on_step_end(&measured).is_break() {
                self.config.stop.request();
            }
            progress.set_message(format!("loss {:.4}, lr {:.2e}", measured.loss, measured.lr));
            progress.inc(1);
            let stopping = self.config.stop.is_requested();
            if self.optimizer.steps.is_multiple_of(self.config.checkpointing_steps) || stopping {
                callbacks.on_checkpoint(&self.write_checkpoint()?);
                last_checkpoint = self.optimizer.steps;
            }
            if stopping {
                trackers.finish("stopped")?;
                progress.abandon_with_message(format!("stopped after step {last_checkpoint}"));
                return Ok(TrainOutcome { steps: self.optimizer.steps, completed: false, transformer: self.model });
            }
        }
        checkpoint::save_transformer(&self.model, &self.config.output_dir, self.config.save_dtype)?;
        self.validate(&mut trackers, callbacks, &progress)?;
        trackers.finish("finished")?;
        progress.finish();
        Ok(TrainOutcome { steps: self.optimizer.steps, completed: true, transformer: self.model })
    }

    /// Measures and draws, unless an earlier part of the run has done so at this step.
    fn validate(&self, trackers: &mut Trackers, callbacks: &mut impl Callbacks, progress: &ProgressBar) -> Result<()> {
        let step = self.optimizer.steps;
        if !self.config.numerics.control || trackers.is_validated(step) {
            return Ok(());
        }
        progress.set_message("validating");
        let model = cast_parameters(self.model.clone(), self.config.numerics.compute_dtype.dtype());
        let around = (&self.scheduler, &self.config.stop);
        if let Some(validation) = self.validator.run(step, &model, &self.batch_maker(), around)? {
            trackers.on_validation_end(&validation)?;
            if callbacks.on_validation_end(&validation).is_break() {
                self.config.stop.request();
            }
        }
        Ok(())
    }

    /// Makes one optimiser step.
    fn step(&mut self, prefetch: &mut Prefetch) -> Result<StepMetrics> {
        let start = Instant::now();
        let step = self.optimizer.steps;
        let numerics = self.config.numerics.clone();
        let samples = self.plan.step(step);
        let model = TrainingCopy::new(&self.model, numerics.compute_dtype, self.config.gradient_checkpointing);
        let (mut loss, mut sink) = (0.0, GradientSink::default());
        for (number, micro) in samples.chunks(numerics.train_batch_size).enumerate() {
            let features = micro
                .iter()
                .map(|&sample| prefetch.next(sample).and_then(|loaded| self.features.sample(loaded)))
                .collect::<Result<Vec<_>>>()?;
            let batch = self.batch_maker().make(&features);
            // Each sample of the step counts the same, also where the last micro-batch is short.
            let part = micro.len() as f64 / samples.len() as f64;
            sink.set_part(part as f32);
            let output = model.forward_backward(&batch, &sizes(&batch, &numerics), &mut sink);
            if let (0, 0, Some(path)) = (step, number, &self.config.dump_step) {
                dump(path, &batch, &output, numerics.resolution)?;
            }
            loss += output.loss * part;
        }
        drop(model);
        if !loss.is_finite() {
            let reason = format!("the loss of step {} is {loss}: a lower rate may help", step + 1);
            return Err(TrainError::flag("--learning_rate", reason));
        }
        let mut gradients = sink.into_sums();
        let grad_norm = clip_grad_norm(&mut gradients, numerics.max_grad_norm);
        let lr = numerics.schedule.at(step, self.total_steps);
        self.optimizer.begin_step();
        let mut gradients = gradients.into_iter().collect::<std::collections::BTreeMap<_, _>>();
        let optimizer = &mut self.optimizer;
        // Parameters change in place only while nobody else holds them, so the model is taken out for the while.
        let nothing = CogView4TransformerConfig { num_layers: 0, ..CogView4TransformerConfig::default() };
        let model = std::mem::replace(&mut self.model, nothing.init(&self.device));
        self.model = update_parameters(model, |key, values| {
            if let Some(gradient) = gradients.remove(key) {
                optimizer.update(key, values, &gradient, lr);
            }
        });
        Ok(StepMetrics {
            step: self.optimizer.steps,
            loss,
            lr,
            grad_norm,
            samples_per_second: samples.len() as f64 / start.elapsed().as_secs_f64(),
            peak_memory_bytes: peak_memory_bytes(),
        })
    }

    fn batch_maker(&self) -> BatchMaker<'_> {
        let vae = self.features.encoders.vae_config();
        BatchMaker {
            numerics: &self.config.numerics,
            scheduler: &self.scheduler,
            scaling_factor: vae.scaling_factor,
            shift_factor: vae.shift_factor.unwrap_or(0.0),
            patch_size: self.model.config().patch_size,
            seed: self.plan.seed,
            device: &self.device,
        }
    }

    fn write_checkpoint(&self) -> Result<PathBuf> {
        let depends = self.config.numerics.schedule.depends_on_total();
        let state = State {
            step: self.optimizer.steps,
            samples: self.plan.samples_before(self.optimizer.steps),
            seed: self.plan.seed,
            world_size: 1,
            total_steps: depends.then_some(self.total_steps),
            numerics: self.config.numerics.clone(),
            data_hash: self.loader.data_hash.clone(),
            weights_hash: checkpoint::weights_hash(&self.model),
            device: self.config.device.to_string(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let limit = self.config.checkpoints_total_limit;
        let saved = (&self.model, self.config.save_dtype);
        checkpoint::write(&self.config.output_dir, &state, saved, &self.optimizer, limit)
    }
}

/// Makes the folders, and checks that what the run will write can be written.
fn check_outputs(config: &TrainConfig) -> Result<()> {
    let output_dir = &config.output_dir;
    TrainError::make_folder("--output_dir", output_dir)?;
    if let Some(folder) = config.tensorboard_folder() {
        TrainError::make_folder("--logging_dir", &folder)?;
    }
    for file in ["metrics.jsonl", "validation.jsonl", "report.html"] {
        check_writable(&output_dir.join(file))?;
    }
    check_folder(config)?;
    config.dump_step.iter().try_for_each(|path| Ok(check_writable(path)?))
}

/// The checkpoint to go on from, with its state.
fn resume_from(config: &TrainConfig) -> Result<Option<(PathBuf, State)>> {
    let folder = match &config.resume {
        None => return Ok(None),
        Some(Resume::Latest) => checkpoint::latest(&config.output_dir)?,
        Some(Resume::Checkpoint(folder)) => Some(folder.clone()),
    };
    folder.map(|folder| checkpoint::read_state(&folder).map(|state| (folder, state))).transpose()
}

fn check_resumable(
    config: &TrainConfig,
    folder: &Path,
    state: &State,
    (data_hash, seed, total_steps): (&String, u64, usize),
    model: &CogView4Transformer,
) -> Result<()> {
    let fail = |reason: &str| Err(TrainError::checkpoint(folder, reason));
    if state.weights_hash != checkpoint::weights_hash(model) {
        return fail("the transformer is not the one that was written with this checkpoint");
    }
    if config.allow_config_change {
        return Ok(());
    }
    if &state.data_hash != data_hash {
        return fail("was trained on another data set: use --allow_config_change to go on all the same");
    }
    if state.numerics != config.numerics || state.seed != seed {
        return fail("was trained with other settings: use --allow_config_change to go on all the same");
    }
    if state.total_steps.is_some_and(|total| total != total_steps) {
        return fail(
            "the learning rate follows another number of steps: use --allow_config_change to go on all the same",
        );
    }
    Ok(())
}

/// Compares the transformer's configuration with the frozen models'.
fn check_transformer(
    folder: &Path,
    encoders: &Encoders,
    pipeline: &Path,
    is_control: bool,
    is_checkpoint: bool,
) -> Result<CogView4TransformerConfig> {
    let path = folder.join("config.json");
    let transformer = CogView4TransformerConfig::load(&path)?;
    let text_encoder = GlmConfig::load(&pipeline.join("text_encoder").join("config.json"))?;
    let channels = encoders.vae_config().latent_channels;
    let fits = match transformer.in_channels {
        base if base == channels => !(is_control && is_checkpoint),
        control => control == 2 * channels && is_control,
    };
    if !fits {
        let reason =
            format!("`in_channels` is {}, but the VAE has {channels} latent channels", transformer.in_channels);
        return Err(TrainError::checkpoint(path, reason));
    }
    if transformer.text_embed_dim != text_encoder.hidden_size {
        let reason = format!(
            "`text_embed_dim` is {}, but the text encoder's `hidden_size` is {}",
            transformer.text_embed_dim, text_encoder.hidden_size
        );
        return Err(TrainError::checkpoint(path, reason));
    }
    Ok(transformer)
}

/// Checks that a picture gives whole patches of latents.
fn check_resolution(resolution: usize, transformer: &CogView4TransformerConfig, encoders: &Encoders) -> Result<()> {
    let multiple = transformer.patch_size * encoders.vae_config().scale_factor();
    if !resolution.is_multiple_of(multiple) {
        let reason = format!("{resolution} is not a multiple of {multiple}, as VAE and transformer need");
        return Err(TrainError::flag("--resolution", reason));
    }
    Ok(())
}

/// A seed for a run that was given none; it is recorded in every checkpoint.
fn draw_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.subsec_nanos().into())
}

/// A progress bar on standard error, where that is a terminal.
pub(crate) fn progress_bar(what: &str, total: usize, done: usize, show: bool) -> ProgressBar {
    let target = if show { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let template =
        format!("{what} {{percent:>3}}%|{{bar:40}}| {{pos}}/{{len}} [{{elapsed}}<{{eta}}, {{per_sec}}] {{msg}}");
    let style = ProgressStyle::with_template(&template).expect("invariant: the template is valid");
    let progress = ProgressBar::with_draw_target(Some(total as u64), target).with_style(style);
    progress.set_position(done as u64);
    progress.reset_eta();
    progress
}

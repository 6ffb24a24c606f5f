//! A whole run. `setup` opens, checks, packs and loads; here it trains, validates and writes.

mod callbacks;
mod load;
mod outputs;
mod planning;
mod published;
mod saving;
mod setup;
mod step;
mod turns;
mod validate;

use std::{path::PathBuf, sync::Arc, time::Duration};

use cogview4_control_pipeline::progress_bar;
use cogview4_data::TrainData;
use cogview4_model::{CogView4Transformer, memory::MemoryMeter};
use indicatif::ProgressBar;

use self::saving::Saving;
use crate::{
    config::TrainConfig,
    distributed::Group,
    error::Result,
    optimizer::{AdamW, GradientMemory, Partition},
    samples::Loader,
    schedule::order::SampleOrder,
    stop::StopFlag,
    trackers::{Shown, Trackers},
};

pub(crate) use planning::planner;
pub(crate) use published::is_weights;
pub(crate) use setup::LOCK;

pub use callbacks::Callbacks;
pub use published::is_published;

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
    stop: StopFlag,
    group: Group,
    /// Which of several processes owns what.
    partition: Option<Arc<Partition>>,
    opened: setup::Opened,
    packed: setup::Packed,
    /// In the type that is computed in. Taken out only while a step changes it.
    model: Option<CogView4Transformer>,
    optimizer: AdamW,
    /// Where gradients are kept that have no memory of their own.
    gradient_memory: Option<GradientMemory>,
    order: SampleOrder,
    memory: MemoryMeter,
    /// The peak of all devices together, where it is known, in floating-point operations a second.
    peak_flops: Option<f64>,
    /// Optimiser steps made: the clock of the run.
    step: usize,
    total_steps: usize,
    /// The norm of the gradients of the step before, where the next one is clipped by it.
    last_norm: Option<f32>,
    /// The checkpoint that is being written while training goes on.
    saving: Option<Saving>,
    /// Time that saving has held up training since the last step was measured.
    save_took: Duration,
}

/// What a run has come to.
#[derive(Debug)]
#[non_exhaustive]
pub struct TrainOutcome {
    /// Optimiser steps made, earlier parts of the run included.
    pub steps: usize,
    /// Whether the run came to its end, and was not stopped.
    pub completed: bool,
    /// The transformer, in the type that it was computed in;
    /// [`PipelineLoader::transformer`](cogview4_control_pipeline::PipelineLoader::transformer) takes it.
    pub transformer: CogView4Transformer,
    /// The folder of W&B's offline run, where one was written.
    pub wandb_run: Option<PathBuf>,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Trainer {
    /// Opens and checks everything, fills the pack, and loads the transformer: the base model widened to a control
    /// model, or a checkpoint.
    ///
    /// # Errors
    /// Anything that is wrong with the settings, the pipeline, the data set, or the checkpoint; nothing is trained
    /// then.
    pub fn new(config: TrainConfig, data: impl Into<TrainData>) -> Result<Self> {
        Self::stoppable(config, data, StopFlag::default())
    }

    /// As [`new`](Self::new), with a flag that stops the run: packing ends early with [`TrainError::Stopped`](crate::TrainError::Stopped), and what
    /// is packed stays; training finishes its step and writes a checkpoint.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn stoppable(config: TrainConfig, data: impl Into<TrainData>, stop: StopFlag) -> Result<Self> {
        Self::in_group(config, data, stop, Group::alone())
    }

    /// As [`stoppable`](Self::stoppable), of a process that trains with others: each calls this with the same settings and
    /// data, and its own view of the group. The first writes, prints and calls back; each has the next device of its
    /// machine, where devices have an index.
    ///
    /// # Errors
    /// As [`new`](Self::new), and that another process has failed.
    pub fn in_group(config: TrainConfig, data: impl Into<TrainData>, stop: StopFlag, group: Group) -> Result<Self> {
        let (data, memory) = (data.into(), MemoryMeter::start());
        let config = TrainConfig { device: config.device.of_process(group.local_rank()), ..config };
        let mut opened = setup::open(&config, &group, &stop)?;
        let planned = setup::check(&config, &mut opened, data.train.len(), &group);
        let setup::Planned { order, total_steps, config } = group.agree("checking the run", planned)?;
        let packed = setup::pack(&config, &mut opened, data, (&group, &stop))?;
        let partition = load::partition(&config, &opened, &group);
        let (model, optimizer, gradient_memory) = group.each("loading", &stop, || {
            let (model, optimizer) = load::load(&config, &opened, (order.seed, partition.as_ref()))?;
            Ok((model, optimizer, load::gradient_memory(&config, &opened, partition.as_ref())?))
        })?;
        let peak_flops =
            group.of_first("the device's peak", config.peak_flops()).map(|peak| peak * group.size() as f64);
        let state = opened.checkpoint.as_ref().map(|checkpoint| &checkpoint.state);
        let (step, last_norm) = state.map_or((0, None), |state| (state.step, state.last_norm));
        Ok(Self {
            config,
            stop,
            group,
            partition,
            opened,
            packed,
            model: Some(model),
            optimizer,
            gradient_memory,
            order,
            memory,
            peak_flops,
            step,
            total_steps,
            last_norm,
            saving: None,
            save_took: Duration::ZERO,
        })
    }

    /// What a person should know before the run begins: checkpoints that were passed over, another kind of machine.
    pub fn notes(&self) -> &[String] {
        &self.opened.notes
    }

    /// Trains to the end, or until it is asked to stop: then the step is finished and a checkpoint written.
    ///
    /// # Errors
    /// A file that cannot be read or written, or [`TrainError::Diverged`](crate::TrainError::Diverged); checkpoints that were written stay.
    pub fn run(mut self, callbacks: &mut impl Callbacks) -> Result<TrainOutcome> {
        let shown = Shown {
            controls: self.packed.validator.controls(),
            samples: &self.packed.samples,
            rows: self.packed.rows.len(),
            seed: self.order.seed,
        };
        let opened = self.group.first("opening the trackers", &self.stop, || {
            Trackers::open(&self.config, self.step, self.total_steps, &shown)
        });
        let mut trackers = opened?.unwrap_or_default();
        let is_shown = self.config.progress_bar && self.group.is_first();
        let progress = progress_bar("training", self.total_steps, self.step, is_shown);
        let completed = match self.train(&mut trackers, callbacks, &progress) {
            Ok(completed) => completed,
            Err(error) => {
                // Why is told by the error; the report only must not go on saying that the run is running.
                let _ = trackers.finish("failed");
                return Err(error);
            }
        };
        trackers.finish(if completed { "finished" } else { "stopped" })?;
        let Self { step, model, .. } = self;
        let transformer = model.expect("invariant: there between steps");
        let wandb_run = trackers.wandb_run().map(PathBuf::from);
        Ok(TrainOutcome { steps: step, completed, transformer, wandb_run })
    }

    /// Makes the steps that are left; false when it was asked to stop.
    fn train(
        &mut self,
        trackers: &mut Trackers,
        callbacks: &mut impl Callbacks,
        progress: &ProgressBar,
    ) -> Result<bool> {
        let (rows, workers) = (Arc::clone(&self.packed.rows), self.config.dataloader_num_workers);
        let steps = self.step..self.total_steps;
        let steps = (steps, self.division());
        let mut loader = Loader::start(rows, &self.packed.encoder, &self.order, steps, workers)?;
        while self.step < self.total_steps {
            if self.step.is_multiple_of(self.config.validation.steps) {
                self.validate(trackers, callbacks, progress)?;
            }
            let mut measured = self.step(&mut loader)?;
            self.look_after_saving(callbacks)?;
            if self.group.is_first() {
                measured = trackers.step(measured)?;
                if callbacks.on_step_end(&measured).is_break() {
                    self.stop.request();
                }
            }
            progress.set_message(measured.message());
            progress.inc(1);
            let stopping = self.group.any("whether to stop", self.stop.is_requested());
            if self.step.is_multiple_of(self.config.checkpointing_steps) || stopping {
                // A run that goes on from the checkpoint has the lines before it.
                trackers.sync()?;
                self.save_checkpoint(callbacks)?;
            }
            if stopping {
                self.finish_saving(callbacks)?;
                progress.abandon_with_message(format!("stopped after step {}", self.step));
                return Ok(false);
            }
        }
        self.finish_saving(callbacks)?;
        self.save()?;
        self.validate(trackers, callbacks, progress)?;
        progress.finish();
        Ok(true)
    }

    /// Writes the result.
    fn save(&mut self) -> Result<()> {
        let dtype = self.config.save_dtype.dtype();
        if !self.optimizer.lies_in_files(dtype) {
            return self.writer().result(self.model(), &self.optimizer, dtype);
        }
        let (folder, model) = (&self.config.output_dir, self.model.as_ref());
        let optimizer = &mut self.optimizer;
        let commit = || {
            model.expect("invariant: there between steps").save_config(folder)?;
            optimizer.commit_weights()
        };
        self.group.first("writing the result", &self.stop, commit).map(drop)
    }

    fn model(&self) -> &CogView4Transformer {
        self.model.as_ref().expect("invariant: there between steps")
    }
}

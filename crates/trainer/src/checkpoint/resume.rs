//! What a run resumes from: found, held against its manifest and the run's settings, and read.

use std::path::{Path, PathBuf};

use burn::{module::Module, tensor::DType};
use cogview4_model::weights::{WeightFiles, parameter_shapes, update_parameters};

use super::{
    files::{MASTER, OPTIMIZER, list},
    manifest::Manifest,
    state::{Machine, TrainState},
};
use crate::{
    config::{Resume, TrainConfig},
    error::{Result, TrainError},
    optimizer::{AdamW, BLOCK, MOMENTS, SCALES, StoredMoment},
};

/// A checkpoint that is whole.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub folder: PathBuf,
    pub state: TrainState,
}

impl Checkpoint {
    /// Finds what a run resumes from; notes say what a person should know of it.
    pub(crate) fn find(config: &TrainConfig, notes: &mut Vec<String>) -> Result<Option<Self>> {
        match &config.resume {
            None => Ok(None),
            Some(Resume::Latest) => Self::latest(&config.output_dir, notes),
            Some(Resume::Checkpoint(folder)) => Self::open(folder, notes).map(Some),
        }
    }

    /// Refuses a run that does not resume from its output folder where checkpoints of another one are: it would replace
    /// and remove them.
    pub(crate) fn check_none_is_replaced(config: &TrainConfig) -> Result<()> {
        let goes_on_here = match &config.resume {
            None => false,
            Some(Resume::Latest) => true,
            Some(Resume::Checkpoint(folder)) => {
                let parent = folder.canonicalize().ok().and_then(|folder| folder.parent().map(Path::to_path_buf));
                parent.is_some() && parent == config.output_dir.canonicalize().ok()
            }
        };
        let newest = list(&config.output_dir)?.pop();
        match newest.filter(|_| !goes_on_here) {
            None => Ok(()),
            Some((step, _)) => {
                let folder = config.output_dir.display();
                let reason = format!(
                    "{folder} holds checkpoint-{step} of an earlier run: resume from it, or choose another folder"
                );
                Err(TrainError::setting("output_dir", reason))
            }
        }
    }

    /// The newest that agrees with its manifest.
    fn latest(output_dir: &Path, notes: &mut Vec<String>) -> Result<Option<Self>> {
        let all = list(output_dir)?;
        let first = notes.len();
        for (_, folder) in all.iter().rev() {
            let verified = Manifest::read(folder).and_then(|manifest| match manifest {
                Some(manifest) => manifest.verify(folder).and_then(|()| TrainState::read(folder)),
                None => Err(TrainError::checkpoint(folder, "has no manifest")),
            });
            match verified {
                Ok(state) => return Ok(Some(Self { folder: folder.clone(), state })),
                Err(reason) => notes.push(format!("a checkpoint is passed over: {reason}")),
            }
        }
        match all.last() {
            None => Ok(None),
            Some((_, newest)) => {
                let reason = notes.get(first).cloned().unwrap_or_default();
                let reason = format!("{reason}; one of an earlier release can be resumed from by its path");
                Err(TrainError::checkpoint(newest, reason))
            }
        }
    }

    /// One that another process has found.
    pub(crate) fn found(folder: PathBuf) -> Result<Self> {
        Ok(Self { state: TrainState::read(&folder)?, folder })
    }

    /// One that is named; without a manifest it is of an earlier release.
    fn open(folder: &Path, notes: &mut Vec<String>) -> Result<Self> {
        let state = TrainState::read(folder)?;
        match Manifest::read(folder)? {
            Some(manifest) => manifest.verify(folder)?,
            None => notes.push(format!(
                "{} is of an earlier release: it has no manifest, so damage to it would not be noticed",
                folder.display()
            )),
        }
        Ok(Self { folder: folder.into(), state })
    }

    /// Compares the settings, before anything is read or packed.
    pub(crate) fn check_settings(
        &self,
        config: &TrainConfig,
        (total_steps, processes): (usize, usize),
        notes: &mut Vec<String>,
    ) -> Result<()> {
        let TrainState { recipe, seed, total_steps: planned, machine, processes: then, .. } = &self.state;
        let here = Machine::here(config.device);
        let mut now = config.recipe.through_json();
        if *then != processes {
            let [before, after] = [(recipe, *then), (&now, processes)]
                .map(|(recipe, processes)| recipe.train_batch_size * recipe.gradient_accumulation_steps * processes);
            if before != after && !config.allow_config_change {
                let difference = format!("a step had {before} samples, of {processes} processes it has {after}");
                return Err(TrainError::ConfigChanged { path: self.folder.clone(), difference });
            }
            // The same samples are divided in another way.
            now.train_batch_size = recipe.train_batch_size;
            now.gradient_accumulation_steps = recipe.gradient_accumulation_steps;
            notes.push(format!(
                "{then} processes have trained so far, now {processes} go on: sums are rounded otherwise"
            ));
        }
        if let Some(differences) = machine.as_ref().and_then(|machine| machine.differences(&here)) {
            notes.push(format!("the run goes on, but not to the last bit as it would have: {differences}"));
        }
        // Both were numbers in JSON once, which may round the last digit.
        let is_other = *recipe != now || config.seed.is_some_and(|given| given != *seed);
        let difference = match planned {
            _ if config.allow_config_change => return Ok(()),
            _ if is_other => "was trained with other settings",
            Some(planned) if *planned != total_steps => "the learning rate follows another number of steps",
            _ => return Ok(()),
        };
        Err(TrainError::ConfigChanged { path: self.folder.clone(), difference: difference.into() })
    }

    /// Compares the rows.
    pub(crate) fn check_data(&self, data_hash: &str, config: &TrainConfig) -> Result<()> {
        if self.state.data_hash == data_hash || config.allow_config_change {
            return Ok(());
        }
        let difference = "was trained on another data set".into();
        Err(TrainError::ConfigChanged { path: self.folder.clone(), difference })
    }

    /// What the optimiser had kept.
    pub(crate) fn open_state(&self) -> Result<StoredState> {
        StoredState::open(self.folder.join(OPTIMIZER))
    }
}

/// The file of a checkpoint that holds the optimiser's state.
pub(crate) struct StoredState {
    path: PathBuf,
    files: WeightFiles,
    /// Whether parameters are saved in bfloat16, with their f32 values here.
    has_masters: bool,
}

impl StoredState {
    fn open(path: PathBuf) -> Result<Self> {
        let files = WeightFiles::open_file(&path)?;
        let has_masters = files.keys().any(|key| key.starts_with(MASTER));
        Ok(Self { files, path, has_masters })
    }

    /// Restores the f32 values of a part of the transformer whose keys begin with `prefix`, where it was saved in bfloat16,
    /// and the optimiser's moments.
    pub(crate) fn restore<M: Module>(
        &self,
        prefix: &str,
        part: M,
        config: &TrainConfig,
        optimizer: &mut AdamW,
    ) -> Result<M> {
        for (key, shape) in parameter_shapes(&part) {
            let key = format!("{prefix}{key}");
            // Other settings may train what was not trained before; its moments begin at zero.
            let is_new = config.allow_config_change && !self.has_moments(&key);
            let extent = optimizer.extent(&key, shape.iter().product());
            if config.recipe.is_trained(&key) && !is_new && !extent.values.is_empty() {
                let moments = self.moments(&key, extent.whole)?;
                let own = moments.map(|moment| moment.part(extent.values.clone()));
                optimizer.restore(&key, &extent, own)?;
            }
        }
        let mut done = Ok(());
        let part = update_parameters(part, |key, values| {
            if done.is_ok() {
                done = self.read_master(&format!("{prefix}{key}"), values);
            }
        });
        done.map(|()| part)
    }

    fn has_moments(&self, key: &str) -> bool {
        self.files.shape(&format!("{}.{key}", MOMENTS[0])).is_some()
    }

    /// Both moments of a parameter of so many values.
    fn moments(&self, key: &str, length: usize) -> Result<[StoredMoment; 2]> {
        let [first, second] = MOMENTS.map(|name| self.moment(name, key, length));
        Ok([first?, second?])
    }

    fn moment(&self, name: &str, key: &str, length: usize) -> Result<StoredMoment> {
        let full = format!("{name}.{key}");
        let Some(codes) = self.files.read_u8(&full)? else {
            return Ok(StoredMoment::Full(self.floats(&full, length)?));
        };
        self.check_length(&full, codes.len(), length)?;
        let scales = self.floats(&format!("{name}{SCALES}.{key}"), length.div_ceil(BLOCK))?;
        Ok(StoredMoment::Codes { codes, scales })
    }

    /// Replaces values by the master of a parameter, if it has one.
    fn read_master(&self, key: &str, values: &mut [f32]) -> Result<()> {
        let key = format!("{MASTER}{key}");
        // All parameters have one, or none.
        if self.has_masters {
            values.copy_from_slice(&self.floats(&key, values.len())?);
        }
        Ok(())
    }

    fn floats(&self, key: &str, length: usize) -> Result<Vec<f32>> {
        let values = self.files.read(key, DType::F32)?.try_into_vec::<f32>().expect("invariant: read as f32");
        self.check_length(key, values.len(), length)?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(TrainError::checkpoint(&self.path, format!("`{key}` holds what is not a finite number"))),
        }
    }

    fn check_length(&self, key: &str, found: usize, expected: usize) -> Result<()> {
        match found == expected {
            true => Ok(()),
            false => {
                let reason = format!("`{key}` has {found} values, the model {expected}");
                Err(TrainError::checkpoint(&self.path, reason))
            }
        }
    }
}

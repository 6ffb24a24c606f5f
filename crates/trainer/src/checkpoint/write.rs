//! Writing what a run has come to: each process its own slices, at the same time; the first makes the files before, and
//! completes them after.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::DType;
use cogview4_model::{
    CogView4Transformer,
    files::{move_to, sync_folder, write_atomic},
    weights::{DIFFUSION_WEIGHTS, SlicedWeights, save_sources},
};

use super::{
    REPLACED, TEMPORARY,
    files::{OPTIMIZER, list, name_of},
    manifest::Manifest,
    remove_if_there,
    snapshot::Snapshot,
    state::STATE,
};
use crate::{
    distributed::Group,
    error::{Result, TrainError},
    optimizer::{AdamW, Slice},
    stop::StopFlag,
};

/// The folder that a result is written to, until all of it is there.
pub(super) const RESULT: &str = "result";

/// Writes the state of model and optimiser, of which each process has its part.
pub(crate) struct Writer<'a> {
    pub group: &'a Group,
    pub output_dir: &'a Path,
}

impl Writer<'_> {
    /// Writes `checkpoint-N` and then removes the oldest others, so that at most `limit` are left.
    pub(crate) fn checkpoint(&self, snapshot: Snapshot, limit: Option<usize>) -> Result<PathBuf> {
        let Snapshot { state, config, weights, optimizer } = snapshot;
        let name = format!("checkpoint-{}", state.step);
        let (target, temporary) = (self.output_dir.join(&name), self.output_dir.join(format!("{TEMPORARY}{name}")));
        let transformer = temporary.join("transformer");
        let mut files = [
            SlicedWeights::of_component(&transformer, DIFFUSION_WEIGHTS, weights.layouts)?,
            SlicedWeights::of_file(&temporary.join(OPTIMIZER), optimizer.layouts)?,
        ];
        let slices = [weights.slices, optimizer.slices];
        let make = |files: &[SlicedWeights]| {
            remove_if_there(&temporary).map_err(TrainError::io(&temporary))?;
            fs::create_dir_all(&transformer).map_err(TrainError::io(&transformer))?;
            config.save(&transformer)?;
            Ok(files.iter().try_for_each(SlicedWeights::create)?)
        };
        let write = |files: &mut [SlicedWeights; 2]| {
            for (files, slices) in files.iter_mut().zip(slices) {
                write_slices(files, slices)?;
                files.sync()?;
            }
            Ok(())
        };
        let complete = || {
            let text =
                serde_json::to_string_pretty(&state).map_err(|error| TrainError::checkpoint(&temporary, error))?;
            write_atomic(&temporary.join(STATE), text.as_bytes())?;
            // The weights' names were not there yet when their folder was written last.
            sync_folder(&transformer).map_err(TrainError::io(&transformer))?;
            Manifest::write(&temporary)?;
            put_in_place(self.output_dir, &name)?;
            limit.map_or(Ok(()), |limit| remove_surplus(self.output_dir, (&target, state.step), limit))
        };
        // What is begun is completed, whoever asks to stop meanwhile.
        let never = StopFlag::default();
        let made = self.group.first("making a checkpoint", &never, || make(&files));
        let written = made.and_then(|_| self.group.each("writing a checkpoint", &never, || write(&mut files)));
        let done = written.and_then(|()| self.group.first("completing a checkpoint", &never, complete));
        match done {
            Ok(_) => Ok(target),
            Err(error) => {
                // What caused it, a full disk for instance, is told; the half-written folder would only be in the way.
                let _ = self.group.is_first().then(|| remove_if_there(&temporary));
                Err(error)
            }
        }
    }

    /// Writes the transformer to the output folder, in this type.
    pub(crate) fn result(&self, model: &CogView4Transformer, optimizer: &AdamW, dtype: DType) -> Result<()> {
        if self.group.size() == 1 {
            model.save_config(self.output_dir)?;
            let sources = optimizer.weight_slices(model, dtype).into_iter();
            let sources = sources.map(|slice| (slice.name, slice.source)).collect();
            return Ok(save_sources(sources, self.output_dir, DIFFUSION_WEIGHTS)?);
        }
        let temporary = self.output_dir.join(format!("{TEMPORARY}{RESULT}"));
        let layouts = AdamW::weight_layouts(model, dtype);
        let mut files = SlicedWeights::of_component(&temporary, DIFFUSION_WEIGHTS, layouts)?;
        let make = || {
            remove_if_there(&temporary).map_err(TrainError::io(&temporary))?;
            fs::create_dir_all(&temporary).map_err(TrainError::io(&temporary))?;
            Ok(files.create()?)
        };
        let never = StopFlag::default();
        let made = self.group.first("making the result", &never, make);
        let write = || {
            write_slices(&mut files, optimizer.weight_slices(model, dtype))?;
            Ok(files.sync()?)
        };
        let written = made.and_then(|_| self.group.each("writing the result", &never, write));
        let complete = || {
            model.save_config(self.output_dir)?;
            for path in files.paths() {
                let target = self.output_dir.join(path.file_name().expect("invariant: files have names"));
                move_to(path, &target)?;
            }
            Ok(())
        };
        let done = written.and_then(|()| self.group.first("completing the result", &never, complete));
        let _ = self.group.is_first().then(|| remove_if_there(&temporary));
        done.map(drop)
    }
}

/// Writes slices one after another; never is more than one in memory.
fn write_slices(files: &mut SlicedWeights, slices: Vec<Slice>) -> Result<()> {
    slices.into_iter().try_for_each(|Slice { name, first, source }| Ok(files.write(&name, first, source.read()?)?))
}

/// Gives a checkpoint that is complete its name; one of this name that is there goes only then.
fn put_in_place(output_dir: &Path, name: &str) -> Result<()> {
    let [target, temporary, replaced] =
        ["", TEMPORARY, REPLACED].map(|prefix| output_dir.join(format!("{prefix}{name}")));
    let fail = |error: std::io::Error| TrainError::checkpoint(&target, format!("cannot be written: {error}"));
    let is_exchanged = target.exists() && exchange(&temporary, &target);
    if target.exists() && !is_exchanged {
        fs::rename(&target, &replaced).map_err(fail)?;
    }
    if !is_exchanged {
        fs::rename(&temporary, &target).map_err(fail)?;
    }
    sync_folder(output_dir).map_err(fail)?;
    [temporary, replaced].iter().try_for_each(|folder| remove_if_there(folder)).map_err(fail)
}

/// Exchanges two folders at once, where system and file system can: at no moment is one of the names not there.
fn exchange(a: &Path, b: &Path) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, rustix::fs::RenameFlags::EXCHANGE)
        .is_ok();
    #[cfg(not(target_os = "linux"))]
    return false;
}

/// Removes others than the one of this step, which was just written, until at most `limit` are left.
fn remove_surplus(output_dir: &Path, (target, step): (&Path, usize), limit: usize) -> Result<()> {
    // Never the one just written, whatever the steps of those that another run has left.
    let mut others = list(output_dir)?;
    others.retain(|(_, path)| path != target);
    // What was made after this step belongs to a branch that was left, so it goes first.
    others.sort_by_key(|(other, _)| (*other <= step, *other));
    let surplus = (others.len() + 1).saturating_sub(limit);
    others.drain(..surplus.min(others.len())).try_for_each(|(_, path)| remove(output_dir, &path))
}

/// Removes a checkpoint, and nothing that was not written with it.
fn remove(output_dir: &Path, path: &Path) -> Result<()> {
    if !Manifest::holds_nothing_else(path) {
        return Manifest::remove_files(path);
    }
    // Under another name first: half a checkpoint would be taken for a damaged one.
    let temporary = output_dir.join(format!("{TEMPORARY}{}", name_of(path)));
    fs::rename(path, &temporary).map_err(TrainError::io(path))?;
    fs::remove_dir_all(&temporary).map_err(TrainError::io(&temporary))
}

//! Reading ahead: which caption and pictures each sample has, in the order of the plan, by worker threads if asked for.
//! Threads change when something is read, never what.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use cogview4_data::{DataError, Dataset, Draws, Pack, PackKey, Picture, Stream};
use image::RgbImage;
use indicatif::ProgressBar;

use crate::{
    config::Numerics,
    error::{Result, TrainError},
    features::Encoders,
    plan::{Plan, Sample, choose_caption},
};

/// Samples that a worker holds ready.
const READY_PER_WORKER: usize = 4;

/// The rows of a run, checked.
pub(crate) struct Loader {
    dataset: Box<dyn Dataset>,
    rows: Vec<RowInfo>,
    numerics: Numerics,
    /// Hash of all pictures and captions.
    pub data_hash: String,
}

/// What is kept of a row in memory.
struct RowInfo {
    captions: Vec<String>,
    /// Where the pack has the moments of picture and control image.
    keys: Option<[PackKey; 2]>,
}

/// A sample, read.
pub(crate) struct Loaded {
    pub sample: Sample,
    pub caption: String,
    pub pictures: LoadedPictures,
}

/// Picture and control image.
pub(crate) enum LoadedPictures {
    Packed([PackKey; 2]),
    Decoded(Box<[RgbImage; 2]>),
}

impl Loader {
    /// Reads every row, decodes what is not packed yet, and fills the pack.
    pub(crate) fn prepare(
        dataset: Box<dyn Dataset>,
        numerics: &Numerics,
        encoders: &Encoders,
        mut pack: Option<&mut Pack>,
        (progress, stop): (&ProgressBar, &AtomicBool),
    ) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let mut rows = Vec::with_capacity(dataset.len());
        if let Some(pack) = pack.as_deref_mut() {
            encoders.pack_caption(pack, "")?;
        }
        for index in 0..dataset.len() {
            if stop.load(Ordering::Relaxed) {
                return Err(TrainError::Stopped);
            }
            let row = dataset.row(index)?;
            let place = dataset.place(index);
            let mut picture = |picture: &Picture| {
                let bytes = picture.bytes().map_err(|reason| row_error(&place, reason))?;
                hasher.update(blake3::hash(&bytes).as_bytes());
                let decode = |bytes| Picture::decode(bytes).map_err(|reason| row_error(&place, reason));
                match pack.as_deref_mut() {
                    Some(pack) => encoders.pack_picture(pack, bytes, decode).map(Some),
                    None => decode(bytes).map(|_| None),
                }
            };
            let keys = picture(&row.image)?.zip(picture(&row.conditioning_image)?);
            for caption in &row.captions {
                hasher.update(blake3::hash(caption.as_bytes()).as_bytes());
                if let Some(pack) = pack.as_deref_mut() {
                    encoders.pack_caption(pack, caption)?;
                }
            }
            rows.push(RowInfo { captions: row.captions, keys: keys.map(|(image, control)| [image, control]) });
            progress.inc(1);
        }
        let data_hash = hasher.finalize().to_hex().to_string();
        Ok(Self { dataset, rows, numerics: numerics.clone(), data_hash })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    fn load(&self, seed: u64, sample: Sample) -> Result<Loaded> {
        let info = &self.rows[sample.row];
        let dropped =
            Draws::new(seed, Stream::CaptionDropout, sample.index).uniform() < self.numerics.proportion_empty_prompts;
        let caption = match dropped {
            true => "",
            false => choose_caption(&info.captions, self.numerics.caption_choice, seed, sample, self.rows.len()),
        };
        let pictures = match &info.keys {
            Some(keys) => LoadedPictures::Packed(keys.clone()),
            None => {
                let row = self.dataset.row(sample.row)?;
                let decode = |picture: &Picture| {
                    let decoded = picture.bytes().and_then(Picture::decode);
                    decoded.map_err(|reason| row_error(&self.dataset.place(sample.row), reason))
                };
                LoadedPictures::Decoded(Box::new([decode(&row.image)?, decode(&row.conditioning_image)?]))
            }
        };
        Ok(Loaded { sample, caption: caption.into(), pictures })
    }
}

fn row_error(place: &(PathBuf, usize), reason: String) -> TrainError {
    DataError::Row { path: place.0.clone(), row: place.1, reason }.into()
}

/// The samples of a run, one after another.
pub(crate) struct Prefetch {
    loader: Arc<Loader>,
    seed: u64,
    /// One for each worker; they take samples in turn. None where the caller reads.
    workers: Vec<Receiver<Result<Loaded>>>,
    taken: usize,
}

impl Prefetch {
    /// Begins reading at a step.
    pub(crate) fn start(
        loader: Arc<Loader>,
        plan: &Plan,
        first_step: usize,
        total_steps: usize,
        workers: usize,
    ) -> Self {
        let seed = plan.seed;
        let start_worker = |worker: usize| {
            let (sender, receiver) = sync_channel(READY_PER_WORKER);
            let (loader, mut plan) = (Arc::clone(&loader), plan.clone());
            thread::spawn(move || {
                let samples = (first_step..total_steps).flat_map(|step| plan.step(step));
                for sample in samples.enumerate().filter(|(number, _)| number % workers == worker) {
                    // Nobody waits for samples any more once the run has ended.
                    if sender.send(loader.load(seed, sample.1)).is_err() {
                        return;
                    }
                }
            });
            receiver
        };
        let receivers = (0..workers).map(start_worker).collect();
        Self { loader, seed, workers: receivers, taken: 0 }
    }

    /// The next sample, which the caller names.
    pub(crate) fn next(&mut self, sample: Sample) -> Result<Loaded> {
        let worker = self.taken.checked_rem(self.workers.len());
        self.taken += 1;
        match worker {
            None => self.loader.load(self.seed, sample),
            Some(worker) => {
                self.workers[worker].recv().expect("invariant: a worker has a sample for each that is asked for")
            }
        }
    }
}

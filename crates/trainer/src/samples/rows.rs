//! Reading ahead: which caption and pictures each sample has, in the order of the plan, by worker threads if asked for.
//! Threads change when something is read, never what.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use cogview4_data::{DataError, Dataset, Draws, PackKey, Picture, Row, Stream};
use cogview4_model::allocator::LargeBlocksApart;
use image::RgbImage;
use indicatif::ProgressBar;

use crate::{
    config::Numerics,
    error::{Result, TrainError},
    samples::encoders::FeatureSource,
    schedule::order::{Plan, Sample, choose_caption},
    stop::StopFlag,
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
        features: &mut FeatureSource,
        (progress, stop): (&ProgressBar, &StopFlag),
    ) -> Result<Self> {
        let FeatureSource { encoders, pack } = features;
        let _apart = LargeBlocksApart::begin();
        let mut hasher = blake3::Hasher::new();
        let mut rows = Vec::with_capacity(dataset.len());
        if let Some(pack) = pack {
            encoders.pack_caption(pack, "")?;
        }
        for index in 0..dataset.len() {
            if stop.is_requested() {
                return Err(TrainError::Stopped);
            }
            let row = dataset.row(index)?;
            if row.captions.is_empty() {
                return Err(row_error(&dataset.place(index), "has no caption".into()));
            }
            let place = dataset.place(index);
            let mut picture = |picture: &Picture| {
                let bytes = picture.bytes().map_err(|reason| row_error(&place, reason))?;
                hasher.update(blake3::hash(&bytes).as_bytes());
                let decode = |bytes| Picture::decode(bytes).map_err(|reason| row_error(&place, reason));
                match pack {
                    Some(pack) => encoders.pack_picture(pack, bytes, decode).map(Some),
                    None => decode(bytes).map(|_| None),
                }
            };
            let keys = picture(&row.image)?.zip(picture(&row.conditioning_image)?);
            for caption in &row.captions {
                hasher.update(blake3::hash(caption.as_bytes()).as_bytes());
                if let Some(pack) = pack {
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

    /// A row to measure on: its first caption, never dropped. `index` numbers the sample.
    pub(crate) fn probe(&self, row: usize, index: u64) -> Result<Loaded> {
        let sample = Sample { index, epoch: 0, row };
        self.read(sample, &self.rows[row].captions[0])
    }

    /// `count` rows, evenly spread over the data set; all of them where it has fewer.
    pub(crate) fn spread_rows(&self, count: usize) -> Vec<usize> {
        let count = count.min(self.len());
        (0..count).map(|number| number * self.len() / count).collect()
    }

    /// Picture and control image of a row.
    pub(crate) fn pictures(&self, row: usize) -> Result<[RgbImage; 2]> {
        let Row { image, conditioning_image, .. } = self.dataset.row(row)?;
        let open = |picture: &Picture| picture.open().map_err(|reason| row_error(&self.dataset.place(row), reason));
        Ok([open(&image)?, open(&conditioning_image)?])
    }

    /// The first caption of a row.
    pub(crate) fn caption(&self, row: usize) -> &str {
        &self.rows[row].captions[0]
    }

    fn load(&self, seed: u64, sample: Sample) -> Result<Loaded> {
        let info = &self.rows[sample.row];
        let dropped =
            Draws::new(seed, Stream::CaptionDropout, sample.index).uniform() < self.numerics.proportion_empty_prompts;
        let caption = match dropped {
            true => "",
            false => choose_caption(&info.captions, self.numerics.caption_choice, seed, sample, self.rows.len()),
        };
        self.read(sample, caption)
    }

    fn read(&self, sample: Sample, caption: &str) -> Result<Loaded> {
        let info = &self.rows[sample.row];
        let pictures = match &info.keys {
            Some(keys) => LoadedPictures::Packed(keys.clone()),
            None => LoadedPictures::Decoded(Box::new(self.pictures(sample.row)?)),
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

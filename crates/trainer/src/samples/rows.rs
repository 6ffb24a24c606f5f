//! The rows of a run: every one is read and checked, and what is not packed yet is, before the first step.

use std::path::PathBuf;

use cogview4_data::{DataError, Dataset, Draws, PackKey, Picture, Row, Stream};
use cogview4_model::device::ReturnFreedMemory;
use image::RgbImage;
use indicatif::ProgressBar;

use super::{
    SampleEncoder, Share,
    captions::choose_caption,
    queue::CaptionQueue,
    sample::{RawPictures, RawSample},
};
use crate::{
    config::Recipe,
    error::{Result, TrainError},
    schedule::order::Sample,
    stop::StopFlag,
};

/// The rows of a run, checked.
pub(crate) struct Rows {
    dataset: Box<dyn Dataset>,
    rows: Vec<RowInfo>,
    recipe: Recipe,
    /// Hash of all pictures and captions.
    pub data_hash: String,
}

/// What is kept of a row in memory.
struct RowInfo {
    captions: Vec<String>,
    /// Where the pack has the moments of picture and control image.
    keys: Option<[PackKey; 2]>,
}

impl Rows {
    /// Reads every row, and of this share decodes what is not packed yet, and fills the pack.
    pub(crate) fn prepare(
        dataset: Box<dyn Dataset>,
        recipe: &Recipe,
        (encoder, share): (&SampleEncoder, Share),
        progress: &ProgressBar,
        stop: &StopFlag,
    ) -> Result<Self> {
        let _memory = ReturnFreedMemory::begin(&encoder.encoders.device);
        let packed = encoder.packed.as_deref();
        let mut hasher = blake3::Hasher::new();
        let mut rows = Vec::new();
        let mut queue = packed.map(|packed| CaptionQueue::new(encoder, packed, share));
        if let Some(queue) = &mut queue {
            queue.add("")?;
        }
        for index in 0..dataset.len() {
            if stop.is_requested() {
                return Err(TrainError::Stopped);
            }
            let row = dataset.row(index)?;
            if row.captions.is_empty() {
                return Err(row_error(&dataset.place(index), "has no caption"));
            }
            let place = dataset.place(index);
            let mut picture = |picture: &Picture| -> Result<Option<PackKey>> {
                let bytes = picture.bytes().map_err(|reason| row_error(&place, reason))?;
                hasher.update(blake3::hash(&bytes).as_bytes());
                let decode = |bytes| Picture::decode(bytes).map_err(|reason| row_error(&place, reason));
                match packed {
                    Some(packed) => encoder.pack_picture((packed, share), bytes, decode).map(Some),
                    None if share.has(index) => decode(bytes).map(|_| None),
                    None => Ok(None),
                }
            };
            let keys = picture(&row.image)?.zip(picture(&row.conditioning_image)?);
            for caption in &row.captions {
                hasher.update(blake3::hash(caption.as_bytes()).as_bytes());
                if let Some(queue) = &mut queue {
                    queue.add(caption)?;
                }
            }
            rows.push(RowInfo { captions: row.captions, keys: keys.map(|(image, control)| [image, control]) });
            progress.inc(1);
        }
        if let Some(mut queue) = queue {
            queue.finish()?;
        }
        let data_hash = hasher.finalize().to_hex().to_string();
        Ok(Self { dataset, rows, recipe: recipe.clone(), data_hash })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A row to measure on: its first caption, never dropped. `index` numbers the sample.
    pub(crate) fn probe(&self, row: usize, index: u64) -> Result<RawSample> {
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

    pub(super) fn load(&self, seed: u64, sample: Sample) -> Result<RawSample> {
        let info = &self.rows[sample.row];
        let dropped =
            Draws::new(seed, Stream::CaptionDropout, sample.index).uniform() < self.recipe.proportion_empty_prompts;
        let caption = match dropped {
            true => "",
            false => choose_caption(&info.captions, self.recipe.caption_choice, seed, sample, self.rows.len()),
        };
        self.read(sample, caption)
    }

    fn read(&self, sample: Sample, caption: &str) -> Result<RawSample> {
        let info = &self.rows[sample.row];
        let pictures = match &info.keys {
            Some(keys) => RawPictures::Packed(keys.clone()),
            None => RawPictures::Decoded(Box::new(self.pictures(sample.row)?)),
        };
        Ok(RawSample { sample, caption: caption.into(), pictures })
    }
}

fn row_error(place: &(PathBuf, usize), reason: impl ToString) -> TrainError {
    DataError::Row { path: place.0.clone(), row: place.1, reason: reason.to_string() }.into()
}

//! TensorBoard's event files: records of protobuf messages, each with its length and two checksums. Source:
//! TensorFlow's `record_writer.cc`.

mod messages;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use cogview4_control_pipeline::encode_png;
use image::RgbImage;
use prost::Message;

use self::messages::{
    Event, Image, Metadata, PluginData, SessionLog, Shape, Summary, SummaryValue, Tensor, Value, What,
};
use super::tracker::{Tracker, read_image};
use crate::{
    error::{Result, TrainError},
    metrics::{StepMetrics, Validation},
    validation::FOLDER,
};

/// An event file, open for appending.
#[derive(Debug)]
pub(crate) struct TensorBoard {
    path: PathBuf,
    file: File,
    /// Where validation pictures are.
    output_dir: PathBuf,
}

impl Tracker for TensorBoard {
    fn step(&mut self, metrics: &StepMetrics) -> Result<()> {
        self.scalars(metrics.step, &metrics.scalars())
    }

    fn validation(&mut self, validation: &Validation) -> Result<()> {
        self.scalars(validation.step, &validation.scalars())?;
        for image in &validation.images {
            let tag = format!("{FOLDER}/{}/{}", image.pair, image.repeat);
            let picture = read_image(&self.output_dir, &image.file)?;
            self.image(validation.step, &tag, &picture)?;
        }
        Ok(())
    }
}

impl TensorBoard {
    /// Begins a file in `folder`, which is there, for a run that goes on after `steps` steps: what other files hold of
    /// later steps is hidden.
    pub(crate) fn create(folder: &Path, output_dir: &Path, steps: usize) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name =
            format!("events.out.tfevents.{:010}.{:09}.{}", now.as_secs(), now.subsec_nanos(), std::process::id());
        let path = folder.join(name);
        let file = File::create_new(&path).map_err(TrainError::io(&path))?;
        let mut board = Self { path, file, output_dir: output_dir.into() };
        board.write(0, What::FileVersion("brain.Event:2".into()))?;
        board.write(steps + 1, What::SessionLog(SessionLog { status: SessionLog::START }))?;
        Ok(board)
    }

    /// Appends numbers of a step.
    pub(crate) fn scalars(&mut self, step: usize, scalars: &[(&str, f64)]) -> Result<()> {
        let scalar = |&(tag, value): &(&str, f64)| Value {
            tag: tag.into(),
            metadata: None,
            value: Some(SummaryValue::SimpleValue(value as f32)),
        };
        self.summary(step, scalars.iter().map(scalar).collect())
    }

    /// Appends a picture.
    pub(crate) fn image(&mut self, step: usize, tag: &str, image: &RgbImage) -> Result<()> {
        let picture = Image {
            height: image.height() as i32,
            width: image.width() as i32,
            colorspace: Image::RGB,
            encoded_image_string: encode_png(image),
        };
        let value = Value { tag: tag.into(), metadata: None, value: Some(SummaryValue::Image(picture)) };
        self.summary(step, vec![value])
    }

    /// Appends a text, in Markdown.
    pub(crate) fn text(&mut self, step: usize, tag: &str, text: &str) -> Result<()> {
        let plugin_data = Some(PluginData { plugin_name: "text".into() });
        let tensor = Tensor { dtype: Tensor::STRING, shape: Some(Shape {}), string_val: vec![text.into()] };
        let value = Value {
            tag: format!("{tag}/text_summary"),
            metadata: Some(Metadata { plugin_data }),
            value: Some(SummaryValue::Tensor(tensor)),
        };
        self.summary(step, vec![value])
    }

    fn summary(&mut self, step: usize, value: Vec<Value>) -> Result<()> {
        self.write(step, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: usize, what: What) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = Event { wall_time: now.as_secs_f64(), step: step as i64, what: Some(what) }.encode_to_vec();
        let length = (event.len() as u64).to_le_bytes();
        let (length_check, event_check) = (masked_crc(&length).to_le_bytes(), masked_crc(&event).to_le_bytes());
        let record = [&length[..], &length_check, &event, &event_check].concat();
        self.file.write_all(&record).map_err(TrainError::io(&self.path))
    }
}

/// The checksum of a record; masked, as records may hold checksums themselves.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

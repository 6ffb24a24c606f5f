//! TensorBoard's event files: records of protobuf messages, each with its length and two checksums. Source:
//! `tensorboard/compat/proto/{event,summary}.proto` and TensorFlow's `record_writer.cc`.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use cogview4_control_pipeline::encode_png;
use image::RgbImage;
use prost::{Message, Oneof};

use crate::error::{Result, TrainError};

/// An event file, open for appending.
#[derive(Debug)]
pub(crate) struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Begins a file in `folder`, which is there, for a run that goes on after `steps` steps: what other files hold of later steps is hidden.
    pub(crate) fn create(folder: &Path, steps: usize) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name =
            format!("events.out.tfevents.{:010}.{:09}.{}", now.as_secs(), now.subsec_nanos(), std::process::id());
        let path = folder.join(name);
        let file = File::create(&path).map_err(|error| TrainError::checkpoint(&path, error))?;
        let mut board = Self { path, file };
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
        self.file.write_all(&record).map_err(|error| TrainError::checkpoint(&self.path, error))
    }
}

/// The checksum of a record; masked, as records may hold checksums themselves.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[derive(Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl SessionLog {
    const START: i32 = 1;
}

#[derive(Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
    #[prost(oneof = "SummaryValue", tags = "2, 4, 8")]
    value: Option<SummaryValue>,
}

#[derive(Oneof)]
enum SummaryValue {
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

#[derive(Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
}

#[derive(Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
}

#[derive(Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes, tag = "4")]
    encoded_image_string: Vec<u8>,
}

impl Image {
    const RGB: i32 = 3;
}

#[derive(Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(string, repeated, tag = "8")]
    string_val: Vec<String>,
}

impl Tensor {
    const STRING: i32 = 7;
}

/// No dimensions: one value.
#[derive(Message)]
struct Shape {}

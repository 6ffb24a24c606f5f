//! From rows to micro-batches: rows are checked and packed (`rows`), read ahead in the order of the run (`prefetch`),
//! made into latents and embeddings by the frozen models (`encoders`) or from the pack (`packed`), and put together
//! (`batch`).

mod batch;
mod captions;
mod encoders;
mod features;
mod identity;
mod packed;
mod prefetch;
mod queue;
mod rows;
mod sample;
mod share;

pub(crate) use batch::{BatchMaker, MicroBatch};
pub(crate) use encoders::Encoders;
pub(crate) use features::SampleEncoder;
pub(crate) use packed::{Captions, PackedSamples, RecordShapes};
pub(crate) use prefetch::Loader;
pub(crate) use queue::STREAMED_TOGETHER;
pub(crate) use rows::Rows;
pub(crate) use sample::EncodedSample;
pub(crate) use share::Share;

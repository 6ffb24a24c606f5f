//! Training data for CogView4 Control models: rows of pictures and captions, the draws that training makes, and packs
//! of what the frozen models compute from them.

mod draws;
mod error;
pub mod lint;
mod lock;
mod pack;
mod source;
mod transform;
mod writer;

pub use draws::{Draws, Stream, permutation};
pub use error::{DataError, PictureError, Result};
pub use lock::FolderLock;
pub use pack::{Pack, PackKey};
pub use source::{Columns, Dataset, Picture, Row, TrainData, first_rows, open_dataset, open_held_out, open_jsonl};
pub use transform::ImageTransform;
pub use writer::write_parquet;

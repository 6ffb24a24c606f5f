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
mod yaml;

pub use draws::{Draws, Stream, permutation};
pub use error::{DataError, PictureError, Result};
pub use lock::FolderLock;
pub use pack::{Pack, PackKey};
pub use source::{
    Columns, Dataset, DatasetFiles, DatasetOptions, Picture, Row, TrainData, choose_converted_files, choose_files,
    first_rows, open_dataset, open_held_out, open_jsonl, open_source, open_train_data,
};
pub use transform::ImageTransform;
pub use writer::write_parquet;
pub use yaml::parse_yaml;

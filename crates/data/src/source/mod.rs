//! Where rows come from: parquet in the Hugging Face form, JSON lines, folders of pictures with metadata; and which
//! files of a data set hold which split (`files`, by a README's `card` or by names in `splits`).

mod card;
mod columns;
mod dataset;
mod files;
mod formats;
mod hub;
mod open;
mod parquet;
mod patterns;
mod row;
mod splits;
mod table;

pub use self::{
    columns::Columns,
    dataset::{Dataset, TrainData, first_rows},
    files::{DatasetFiles, choose_converted_files, choose_files},
    hub::open_source,
    open::{DatasetOptions, open_dataset, open_held_out, open_jsonl, open_train_data},
    row::{Picture, Row},
};

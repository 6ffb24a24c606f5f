//! Where rows come from: parquet in the Hugging Face form, JSON lines, folders of pictures with metadata.

mod columns;
mod dataset;
mod open;
mod parquet;
mod row;
mod splits;
mod table;

pub use self::{
    columns::Columns,
    dataset::{Dataset, TrainData, first_rows},
    open::{open_dataset, open_held_out, open_jsonl},
    row::{Picture, Row},
};

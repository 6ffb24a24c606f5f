//! Weights on disk: memory-mapped safetensors, one file or shards with an index, loaded with a strict report.
//!
//! A key that the model needs and the files lack, a key that the model does not know, and a tensor of another shape
//! are errors that name file and key. Nothing is transposed and nothing renamed: module fields are the keys.

mod files;
mod load;
mod parameters;
mod save;

pub use files::WeightFiles;
pub use load::{LoadOptions, load_module};
pub use parameters::{cast_parameters, named_parameters, set_trained, take_gradients, update_parameters};
pub use save::{load_tensor, save_module, save_shards, save_tensors};

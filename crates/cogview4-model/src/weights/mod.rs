//! Weights on disk: memory-mapped safetensors, one file or shards with an index, loaded with a strict report, and
//! written, converted, looked at and compared one tensor after another.
//!
//! A key that the model needs and the files lack, a key that the model does not know, and a tensor of another shape
//! are errors that name file and key. Nothing is transposed and nothing renamed: module fields are the keys.

mod blocks;
mod convert;
mod files;
mod headers;
mod in_place;
mod inspect;
mod int8;
mod layout;
mod lent;
mod load;
mod options;
mod parameters;
mod save;
mod shapes;
mod shard;
mod sliced;
mod source;
#[cfg(test)]
mod tests;

pub use blocks::{Block, block_index};
pub(crate) use blocks::{BlockStream, block, fill_blocks, is_of_blocks};
pub use convert::{WeightFormat, convert_weights, weights_stem};
pub use files::{DIFFUSION_WEIGHTS, TRANSFORMERS_WEIGHTS, WeightFiles};
pub use in_place::WeightsInPlace;
pub use inspect::{TensorDifference, TensorSummary, compare_tensor, summarize};
pub(crate) use int8::HasLinears;
pub use int8::SCALE_SUFFIX;
use int8::{keeps_int8, load_int8};
pub use lent::LentMemory;
pub use load::{LoadOptions, load_module};
pub use options::{Int8, WeightOptions};
pub use parameters::{
    cast_parameters, for_each_gradient, for_each_gradient_tensor, for_each_parameter, map_parameter_tensors,
    map_parameters, parameter_sources, renew_parameters, set_trained, update_parameters,
};
pub use save::{load_tensor, save_module, save_shards, save_sources, save_tensors, write_shards};
pub use shapes::parameter_shapes;
pub use sliced::SlicedWeights;
pub use source::TensorSource;

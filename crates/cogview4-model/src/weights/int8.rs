//! Weights in 8 bits: which they are, and how they come from files. A file holds `KEY` as I8 and `KEY.scale` as F16,
//! see [`QuantizedMatrix`](crate::ops::QuantizedMatrix); one that holds the values is quantised as it is read.

use super::{Int8, WeightFiles, WeightOptions, block_index};
use crate::{error::Result, nn::Linear};

/// What the keys of blocks begin with, in transformer and text encoder.
const BLOCKS: [&str; 3] = ["transformer_blocks", "layers", "model.layers"];

/// A part of a model whose matrices are all those of linear layers.
pub(crate) trait HasLinears {
    /// The layers, by what follows the part's own key.
    fn linears(&mut self) -> Vec<(&'static str, &mut Linear)>;
}

/// Whether a tensor is one of those that may be in 8 bits: the matrices of the blocks. Norms, embeddings and what is
/// before and behind the blocks are small, and stay as they are.
pub(super) fn may_be_int8(key: &str, shape: &[usize]) -> bool {
    let is_in_block = BLOCKS.iter().any(|name| block_index(key, name).is_some());
    is_in_block && shape.len() == 2 && key.ends_with(".weight")
}

/// What follows a weight's key in that of its scales.
pub const SCALE_SUFFIX: &str = ".scale";

/// Where the scales of a weight are.
pub(super) fn scale_key(key: &str) -> String {
    format!("{key}{SCALE_SUFFIX}")
}

/// Whether a weight is kept in 8 bits.
pub(super) fn keeps_int8(files: &WeightFiles, key: &str, options: &WeightOptions) -> bool {
    let may_be = files.shape(key).is_some_and(|(_, shape)| may_be_int8(key, shape));
    match options.int8 {
        Int8::Never => false,
        Int8::AsStored => may_be && files.is_int8(key),
        Int8::Always => may_be,
    }
}

/// Fills the layers of a block whose weights are kept in 8 bits; `prefix` is the block's own key.
pub(super) fn load_int8<M: HasLinears>(
    block: &mut M,
    files: &WeightFiles,
    prefix: &str,
    options: &WeightOptions,
) -> Result<()> {
    for (name, linear) in block.linears() {
        let key = format!("{prefix}{name}.weight");
        if keeps_int8(files, &key, options) {
            linear.quantized = Some(files.read_int8(&key, options.is_mapped)?);
        }
    }
    Ok(())
}

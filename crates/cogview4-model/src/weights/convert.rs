//! Weight files in another type or in other shards, one tensor at a time.

use std::path::Path;

use burn::tensor::{DType, TensorData};

use super::{
    DIFFUSION_WEIGHTS, TRANSFORMERS_WEIGHTS, TensorSource, WeightFiles,
    int8::{SCALE_SUFFIX, may_be_int8, scale_key},
    save::write_shards,
};
use crate::{
    error::{ModelError, Result},
    ops::BLOCK_VALUES,
};

/// What weight files are called in folders of components: those of diffusers, and those of transformers.
const STEMS: [&str; 2] = [DIFFUSION_WEIGHTS, TRANSFORMERS_WEIGHTS];

/// How weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightFormat {
    /// The type of all tensors, [`DType::F32`] or [`DType::BF16`]; `None` keeps those two as they are and writes others
    /// as f32, and matrices in 8 bits as they are.
    pub dtype: Option<DType>,
    /// Whether the matrices of blocks become codes in 8 bits, which this crate reads and diffusers does not.
    pub int8: bool,
    /// Shards are at most so many bytes of numbers; a tensor that is larger is a shard alone.
    pub max_shard_bytes: usize,
}

impl Default for WeightFormat {
    fn default() -> Self {
        Self { dtype: None, int8: false, max_shard_bytes: super::layout::MAX_SHARD_BYTES }
    }
}

/// What the weight files in a component's folder are called, if there are any: the name before `.safetensors`.
pub fn weights_stem(folder: &Path) -> Option<&'static str> {
    let is_there =
        |stem: &&str| ["", ".index.json"].iter().any(|end| folder.join(format!("{stem}.safetensors{end}")).is_file());
    STEMS.into_iter().find(is_there)
}

/// Writes the tensors of weight files to a folder, in another type or in other shards. At no time is more than one of
/// them in memory.
///
/// # Errors
/// A tensor that holds no floating-point numbers, before anything is written; a file that cannot be written.
pub fn convert_weights(files: &WeightFiles, folder: &Path, stem: &str, format: WeightFormat) -> Result<()> {
    let mut sources = Vec::new();
    for key in files.keys() {
        let entry = files.entry(key).ok_or_else(|| ModelError::weight_file(files.folder(), "changed meanwhile"))?;
        let own = match entry.dtype.as_str() {
            "BF16" => DType::BF16,
            // The scales of a matrix in 8 bits go with it.
            "F16" if key.strip_suffix(SCALE_SUFFIX).is_some_and(|weight| files.is_int8(weight)) => continue,
            "I8" if files.is_int8(key) && format.dtype.is_none() => DType::I8,
            "I8" if files.is_int8(key) => DType::F32,
            "F64" | "F32" | "F16" => DType::F32,
            other => {
                let reason = format!("`{key}` has type {other}, expected a float type");
                return Err(ModelError::weight_file(entry.path, reason));
            }
        };
        if own == DType::I8 || format.int8 && may_be_int8(key, entry.shape) {
            sources.extend(int8_sources(files, key)?);
            continue;
        }
        let dtype = format.dtype.unwrap_or(own);
        let read = move || files.read(key, dtype);
        sources.push((key.to_owned(), TensorSource::fallible(dtype, entry.shape, read)));
    }
    write_shards(sources, folder, stem, format.max_shard_bytes)
}

/// Codes and scales of a matrix.
fn int8_sources<'a>(files: &'a WeightFiles, key: &'a str) -> Result<[(String, TensorSource<'a>); 2]> {
    // Made once before anything is written, as there are values that have no codes; not kept, as that would be half of
    // the model.
    let [rows, width] = files.read_int8(key, false)?.dims();
    let read = move || files.read_int8(key, false);
    let codes = move || Ok(TensorData::from_bytes_vec(read()?.codes_bytes().to_vec(), [rows, width], DType::I8));
    let blocks = [rows, width.div_ceil(BLOCK_VALUES)];
    let scales = move || Ok(TensorData::from_bytes_vec(read()?.scales_bytes().to_vec(), blocks, DType::F16));
    let codes = TensorSource::fallible(DType::I8, [rows, width], codes);
    Ok([(key.to_owned(), codes), (scale_key(key), TensorSource::fallible(DType::F16, blocks, scales))])
}

//! Weight files in another type or in other shards, one tensor at a time.

use std::path::Path;

use burn::tensor::DType;

use super::{DIFFUSION_WEIGHTS, TRANSFORMERS_WEIGHTS, TensorSource, WeightFiles, save::write_shards};
use crate::error::{ModelError, Result};

/// What weight files are called in folders of components: those of diffusers, and those of transformers.
const STEMS: [&str; 2] = [DIFFUSION_WEIGHTS, TRANSFORMERS_WEIGHTS];

/// How weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightFormat {
    /// The type of all tensors, [`DType::F32`] or [`DType::BF16`]; `None` keeps those two as they are and writes others
    /// as f32.
    pub dtype: Option<DType>,
    /// Shards are at most so many bytes of numbers; a tensor that is larger is a shard alone.
    pub max_shard_bytes: usize,
}

impl Default for WeightFormat {
    fn default() -> Self {
        Self { dtype: None, max_shard_bytes: super::save::MAX_SHARD_BYTES }
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
    let source = |key: &str| -> Result<(String, TensorSource<'_>)> {
        let entry = files.entry(key).ok_or_else(|| ModelError::weight_file(files.folder(), "changed meanwhile"))?;
        let own = match entry.dtype.as_str() {
            "BF16" => DType::BF16,
            "F64" | "F32" | "F16" => DType::F32,
            other => {
                let reason = format!("`{key}` has type {other}, expected a float type");
                return Err(ModelError::weight_file(entry.path, reason));
            }
        };
        let (dtype, key) = (format.dtype.unwrap_or(own), key.to_owned());
        let name = key.clone();
        let read = move || files.read(&name, dtype).expect("invariant: a float tensor that is there");
        Ok((key, TensorSource::new(dtype, entry.shape, read)))
    };
    let sources = files.keys().map(source).collect::<Result<Vec<_>>>()?;
    write_shards(sources, folder, stem, format.max_shard_bytes)
}

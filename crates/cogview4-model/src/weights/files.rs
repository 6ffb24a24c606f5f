//! The safetensors files of one component, memory-mapped: `stem.safetensors`, or shards named by
//! `stem.safetensors.index.json`. Headers are checked when the files are opened, data is read when asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::{DType, TensorData};
use safetensors::{Dtype, tensor::TensorInfo};
use serde::Deserialize;

use super::{int8::scale_key, shard::Shard};
use crate::{
    error::{ModelError, Result},
    files::{MAX_CONFIG_BYTES, read_text},
    ops::{QuantizedMatrix, SharedBytes},
};

/// Name of the weight files of models of diffusers, without what follows it.
pub const DIFFUSION_WEIGHTS: &str = "diffusion_pytorch_model";
/// Name of the weight files of models of transformers, without what follows it.
pub const TRANSFORMERS_WEIGHTS: &str = "model";

/// The weight files of one component.
#[derive(Debug)]
pub struct WeightFiles {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// Key to the shard that holds it.
    keys: BTreeMap<String, usize>,
}

/// A tensor in its file.
pub(super) struct TensorEntry<'a> {
    pub(super) path: &'a Path,
    /// The type as safetensors calls it.
    pub(super) dtype: String,
    pub(super) shape: &'a [usize],
    shard: &'a Shard,
    info: &'a TensorInfo,
}

impl TensorEntry<'_> {
    /// Number of its bytes.
    pub(super) fn num_bytes(&self) -> usize {
        self.shard.range(self.info).len()
    }

    /// Its bytes.
    ///
    /// # Errors
    /// A file that cannot be read, or that was cut.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        self.shard.read_bytes(self.info)
    }
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Opens the files of a component: `folder/stem.safetensors`, or the shards of
    /// `folder/stem.safetensors.index.json`.
    ///
    /// # Errors
    /// No such file; a shard that is missing, truncated or not what the index says; a key in two shards.
    pub fn open(folder: &Path, stem: &str) -> Result<Self> {
        Self::open_variant(folder, stem, None)
    }

    /// As [`open`](Self::open), of a variant such as `fp16`: `stem.fp16.safetensors`, or the shards of
    /// `stem.safetensors.index.fp16.json`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_variant(folder: &Path, stem: &str, variant: Option<&str>) -> Result<Self> {
        let [single, index] = names(stem, variant).map(|name| folder.join(name));
        let mut files = Self { folder: folder.into(), shards: Vec::new(), keys: BTreeMap::new() };
        if single.is_file() {
            files.push(Shard::open(&single)?)?;
        } else if index.is_file() {
            files.open_shards(&index)?;
        } else {
            let [single, index] = names(stem, variant);
            let reason = format!("holds neither `{single}` nor `{index}`");
            return Err(ModelError::weight_file(folder, reason));
        }
        Ok(files)
    }

    /// Whether a folder holds files of this variant.
    pub fn has_variant(folder: &Path, stem: &str, variant: &str) -> bool {
        names(stem, Some(variant)).iter().any(|name| folder.join(name).is_file())
    }

    /// Opens one safetensors file, whatever its name.
    ///
    /// # Errors
    /// A file that cannot be read or is not valid safetensors.
    pub fn open_file(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("")).into();
        let mut files = Self { folder, shards: Vec::new(), keys: BTreeMap::new() };
        files.push(Shard::open(path)?)?;
        Ok(files)
    }

    fn open_shards(&mut self, index_path: &Path) -> Result<()> {
        let text = read_text(index_path, MAX_CONFIG_BYTES).map_err(ModelError::io(index_path))?;
        let index: ShardIndex = serde_json::from_str(&text)
            .map_err(|error| ModelError::weight_file(index_path, format!("not a valid index: {error}")))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        for name in names {
            if Path::new(name).file_name() != Some(name.as_ref()) {
                return Err(ModelError::weight_file(index_path, format!("`{name}` is not the name of a file")));
            }
            self.push(Shard::open(&self.folder.join(name))?)?;
        }
        for (key, name) in &index.weight_map {
            let path = self.folder.join(name);
            if self.keys.get(key).is_none_or(|&shard| self.shards[shard].path != path) {
                return Err(ModelError::weight_file(path, format!("key `{key}` is missing, the index puts it here")));
            }
        }
        Ok(())
    }

    fn push(&mut self, shard: Shard) -> Result<()> {
        for key in shard.tensors.keys() {
            if self.keys.insert(key.clone(), self.shards.len()).is_some() {
                return Err(ModelError::weight_file(&shard.path, format!("key `{key}` is in another shard too")));
            }
        }
        self.shards.push(shard);
        Ok(())
    }

    /// The folder of the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// File and shape of a tensor, if it is there.
    pub fn shape(&self, key: &str) -> Option<(&Path, &[usize])> {
        let shard = &self.shards[*self.keys.get(key)?];
        Some((&shard.path, &shard.tensors[key].shape))
    }

    /// A tensor as it is in its file, if it is there.
    pub(super) fn entry(&self, key: &str) -> Option<TensorEntry<'_>> {
        let shard = &self.shards[*self.keys.get(key)?];
        let info = &shard.tensors[key];
        let dtype = format!("{:?}", info.dtype);
        Some(TensorEntry { path: &shard.path, dtype, shape: &info.shape, shard, info })
    }

    /// Reads a floating-point tensor in the type wanted, into memory of its own.
    ///
    /// # Errors
    /// A key that is not there, a tensor that does not hold floating-point numbers, or a file that cannot be read.
    pub fn read(&self, key: &str, dtype: DType) -> Result<TensorData> {
        let (shard, info) = self.find(key)?;
        if self.is_int8(key) {
            return Ok(self.read_int8(key, false)?.to_data(dtype));
        }
        shard.read(info, dtype)?.ok_or_else(|| not_float(shard, key, info))
    }

    /// A floating-point tensor whose memory is the file's, where the file holds it in the type wanted; else as
    /// [`read`](Self::read). The file must stay as it is while the tensor lives.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn borrow(&self, key: &str, dtype: DType) -> Result<TensorData> {
        let (shard, info) = self.find(key)?;
        shard.borrow(info, dtype).map_or_else(|| self.read(key, dtype), Ok)
    }

    /// Reads a tensor of bytes, `U8`; `None` where it is of another type.
    ///
    /// # Errors
    /// A key that is not there, or a file that cannot be read.
    pub fn read_u8(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let (shard, info) = self.find(key)?;
        if info.dtype != Dtype::U8 {
            return Ok(None);
        }
        shard.read_bytes(info).map(Some)
    }

    /// Whether a tensor is a matrix in 8 bits, with its scales beside it.
    pub fn is_int8(&self, key: &str) -> bool {
        let dtype = |key: &str| self.find(key).map(|(_, info)| info.dtype).ok();
        dtype(key) == Some(Dtype::I8) && dtype(&scale_key(key)) == Some(Dtype::F16)
    }

    /// A matrix in 8 bits, quantised where the file holds the values; else with the memory of the file where
    /// `is_mapped`, or with its own.
    ///
    /// # Errors
    /// As [`read`](Self::read), and values that are not finite, or no matrix.
    pub fn read_int8(&self, key: &str, is_mapped: bool) -> Result<QuantizedMatrix> {
        let (shard, info) = self.find(key)?;
        let named = |error: ModelError| ModelError::weight_file(&shard.path, format!("`{key}`: {error}"));
        if !self.is_int8(key) {
            let dtype = if info.dtype == Dtype::BF16 { DType::BF16 } else { DType::F32 };
            return QuantizedMatrix::quantize(&self.read(key, dtype)?).map_err(named);
        }
        let dims = info.shape[..].try_into();
        let dims = dims.map_err(|_| ModelError::weight_file(&shard.path, format!("`{key}` is not a matrix")))?;
        let (scale_shard, scales) = self.find(&scale_key(key))?;
        let [codes, scales] = [(shard, info), (scale_shard, scales)].map(|(shard, info)| match is_mapped {
            true => Ok(shard.part(info)),
            false => shard.read_bytes(info).map(|bytes| Arc::new(bytes) as SharedBytes),
        });
        QuantizedMatrix::new(codes?, scales?, dims).map_err(named)
    }

    /// Reads a row of a floating-point tensor `[N, D]`: `[1, D]` in the type wanted.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Panics
    /// When the tensor is not a matrix, or has no such row.
    pub fn read_row(&self, key: &str, row: usize, dtype: DType) -> Result<TensorData> {
        let (shard, info) = self.find(key)?;
        let [rows, width] = info.shape[..] else { panic!("`{key}` is not a matrix: {:?}", info.shape) };
        assert!(row < rows, "`{key}` has {rows} rows");
        let data = shard.read_part(info, vec![1, width], row * width, dtype)?;
        data.ok_or_else(|| not_float(shard, key, info))
    }

    fn find(&self, key: &str) -> Result<(&Shard, &TensorInfo)> {
        let missing = || ModelError::weight_file(&self.folder, format!("key `{key}` is missing"));
        let shard = &self.shards[*self.keys.get(key).ok_or_else(missing)?];
        Ok((shard, &shard.tensors[key]))
    }
}

fn not_float(shard: &Shard, key: &str, info: &TensorInfo) -> ModelError {
    ModelError::weight_file(&shard.path, format!("`{key}` has type {:?}, expected a float type", info.dtype))
}

/// The names of a single file and of an index of shards.
fn names(stem: &str, variant: Option<&str>) -> [String; 2] {
    match variant {
        None => [format!("{stem}.safetensors"), format!("{stem}.safetensors.index.json")],
        Some(variant) => [format!("{stem}.{variant}.safetensors"), format!("{stem}.safetensors.index.{variant}.json")],
    }
}

//! The safetensors files of one component, memory-mapped: `stem.safetensors`, or shards named by
//! `stem.safetensors.index.json`. Headers are checked when the files are opened, data is read when asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Element, TensorData};
use bytemuck::Pod;
use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorInfo};
use serde::Deserialize;

use crate::error::{ModelError, Result};

/// Name of the weight files of models of diffusers, without what follows it.
pub const DIFFUSION_WEIGHTS: &str = "diffusion_pytorch_model";
/// Name of the weight files of models of transformers, without what follows it.
pub const TRANSFORMERS_WEIGHTS: &str = "model";

/// Values that a thread reads at a time.
const PART_VALUES: usize = 1 << 20;

/// The weight files of one component.
#[derive(Debug)]
pub struct WeightFiles {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// Key to the shard that holds it.
    keys: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
    /// Where the data begins, after the header.
    data_start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

/// A tensor in its file.
pub(super) struct TensorEntry<'a> {
    pub(super) path: &'a Path,
    /// The type as safetensors calls it.
    pub(super) dtype: String,
    pub(super) shape: &'a [usize],
    pub(super) bytes: &'a [u8],
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
        let text =
            std::fs::read_to_string(index_path).map_err(|source| ModelError::Io { path: index_path.into(), source })?;
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
        Some(TensorEntry { path: &shard.path, dtype, shape: &info.shape, bytes: shard.bytes(info) })
    }

    /// Reads a floating-point tensor in the type wanted.
    ///
    /// # Errors
    /// A key that is not there, or a tensor that does not hold floating-point numbers.
    pub fn read(&self, key: &str, dtype: DType) -> Result<TensorData> {
        let missing = || ModelError::weight_file(&self.folder, format!("key `{key}` is missing"));
        let shard = &self.shards[*self.keys.get(key).ok_or_else(missing)?];
        let info = &shard.tensors[key];
        let data = decode(info, shard.bytes(info), dtype);
        data.ok_or_else(|| {
            let reason = format!("`{key}` has type {:?}, expected a float type", info.dtype);
            ModelError::weight_file(&shard.path, reason)
        })
    }
}

/// The names of a single file and of an index of shards.
fn names(stem: &str, variant: Option<&str>) -> [String; 2] {
    match variant {
        None => [format!("{stem}.safetensors"), format!("{stem}.safetensors.index.json")],
        Some(variant) => [format!("{stem}.{variant}.safetensors"), format!("{stem}.safetensors.index.{variant}.json")],
    }
}

impl Shard {
    #[expect(unsafe_code, reason = "memory-mapping a file is unsafe by definition")]
    fn open(path: &Path) -> Result<Self> {
        let io = |source| ModelError::Io { path: path.into(), source };
        let file = File::open(path).map_err(io)?;
        // SAFETY: the map is read-only; as every program that maps files, we rely on nobody truncating the file
        // while it is read.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let (header_len, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|error| ModelError::weight_file(path, format!("not a complete safetensors file: {error}")))?;
        let tensors = metadata.tensors().into_iter().map(|(key, info)| (key, info.clone())).collect();
        Ok(Self { path: path.into(), map, data_start: header_len + size_of::<u64>(), tensors })
    }

    fn bytes(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        &self.map[self.data_start + start..self.data_start + end]
    }
}

/// Values in the type wanted, in one pass over the file's memory; `None` where they are not floating-point numbers.
fn decode(info: &TensorInfo, bytes: &[u8], dtype: DType) -> Option<TensorData> {
    let convert = match info.dtype {
        Dtype::F64 => convert::<f64>,
        Dtype::F32 => convert::<f32>,
        Dtype::F16 => convert::<f16>,
        Dtype::BF16 => convert::<bf16>,
        _ => return None,
    };
    Some(convert(bytes, info.shape.clone(), dtype))
}

fn convert<From: Element + Pod>(bytes: &[u8], shape: Vec<usize>, dtype: DType) -> TensorData {
    match dtype {
        DType::F64 => TensorData::new(values::<From, f64>(bytes), shape),
        DType::BF16 => TensorData::new(values::<From, bf16>(bytes), shape),
        _ => TensorData::new(values::<From, f32>(bytes), shape).convert_dtype(dtype),
    }
}

/// The file need not be aligned for its values.
fn values<From: Element + Pod, To: Element + Pod>(bytes: &[u8]) -> Vec<To> {
    let mut values = vec![To::zeroed(); bytes.len() / size_of::<From>()];
    let parts = values.par_chunks_mut(PART_VALUES).zip(bytes.par_chunks(PART_VALUES * size_of::<From>()));
    parts.for_each(|(values, bytes)| {
        for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(size_of::<From>())) {
            *value = bytemuck::pod_read_unaligned::<From>(bytes).elem();
        }
    });
    values
}

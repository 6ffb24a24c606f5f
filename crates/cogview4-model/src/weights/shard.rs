//! One safetensors file: its header, the map of its memory, and reads that end in an error where the file does.

use std::{
    any::TypeId,
    collections::BTreeMap,
    fs::File,
    ops::{Deref, Range},
    path::Path,
    path::PathBuf,
    sync::Arc,
};

use burn::tensor::{AllocationProperty, Bytes, DType, Element, TensorData};
use bytemuck::Pod;
use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorInfo};

use crate::{
    error::{ModelError, Result},
    files::open_regular,
    memory::NamedMap,
    ops::SharedBytes,
};

/// Values that a thread reads at a time.
const PART_VALUES: usize = 1 << 20;

/// A file whose header was checked.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    file: File,
    map: Arc<MappedFile>,
    /// Where the data begins, after the header.
    data_start: usize,
}

impl Shard {
    #[expect(unsafe_code, reason = "memory-mapping a file is unsafe by definition")]
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = open_regular(path).map_err(ModelError::io(path))?;
        // SAFETY: the map is read-only; as every program that maps files, we rely on nobody truncating the file
        // while it is read.
        let map = unsafe { Mmap::map(&file) }.map_err(ModelError::io(path))?;
        let map = MappedFile::new(map, path);
        let (header_len, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|error| ModelError::weight_file(path, format!("not a complete safetensors file: {error}")))?;
        let tensors = metadata.tensors().into_iter().map(|(key, info)| (key, info.clone())).collect();
        Ok(Self { path: path.into(), file, map: Arc::new(map), data_start: header_len + size_of::<u64>(), tensors })
    }

    pub(super) fn range(&self, info: &TensorInfo) -> Range<usize> {
        let (start, end) = info.data_offsets;
        self.data_start + start..self.data_start + end
    }

    /// A tensor whose memory is the map; `None` where the file has another type, or where its values are not aligned.
    pub(super) fn borrow(&self, info: &TensorInfo, dtype: DType) -> Option<TensorData> {
        let range = self.range(info);
        let is_same = float_dtype(info.dtype) == Some(dtype);
        let is_aligned = self.map[range.clone()].as_ptr().addr().is_multiple_of(dtype.size());
        (is_same && is_aligned && !range.is_empty()).then(|| {
            let part = bytes::Bytes::from_owner(Part { map: Arc::clone(&self.map), range });
            let bytes = Bytes::from_shared(part, AllocationProperty::File);
            TensorData::from_bytes(bytes, info.shape.clone(), dtype)
        })
    }

    /// The bytes of a tensor, which keep the map alive.
    pub(super) fn part(&self, info: &TensorInfo) -> SharedBytes {
        Arc::new(Part { map: Arc::clone(&self.map), range: self.range(info) })
    }

    /// The bytes of a tensor in memory of their own.
    pub(super) fn read_bytes(&self, info: &TensorInfo) -> Result<Vec<u8>> {
        let range = self.range(info);
        let mut bytes = vec![0; range.len()];
        bytes
            .par_chunks_mut(PART_VALUES)
            .enumerate()
            .try_for_each(|(index, part)| self.read_at(range.start + index * PART_VALUES, part))?;
        Ok(bytes)
    }

    /// A tensor in memory of its own, in the type wanted; `None` where it holds no floating-point numbers.
    pub(super) fn read(&self, info: &TensorInfo, dtype: DType) -> Result<Option<TensorData>> {
        self.read_part(info, info.shape.clone(), 0, dtype)
    }

    /// The part of a tensor that has this shape and begins after so many values.
    pub(super) fn read_part(
        &self,
        info: &TensorInfo,
        shape: Vec<usize>,
        first: usize,
        dtype: DType,
    ) -> Result<Option<TensorData>> {
        let convert = match info.dtype {
            Dtype::F64 => Self::convert::<f64>,
            Dtype::F32 => Self::convert::<f32>,
            Dtype::F16 => Self::convert::<f16>,
            Dtype::BF16 => Self::convert::<bf16>,
            _ => return Ok(None),
        };
        convert(self, self.range(info).start, shape, first, dtype).map(Some)
    }

    fn convert<From: Element + Pod>(
        &self,
        start: usize,
        shape: Vec<usize>,
        first: usize,
        dtype: DType,
    ) -> Result<TensorData> {
        let (start, count) = (start + first * size_of::<From>(), shape.iter().product());
        Ok(match dtype {
            DType::F64 => TensorData::new(self.values::<From, f64>(start, count)?, shape),
            DType::BF16 => TensorData::new(self.values::<From, bf16>(start, count)?, shape),
            _ => TensorData::new(self.values::<From, f32>(start, count)?, shape).convert_dtype(dtype),
        })
    }

    /// Reads values part by part, so that a conversion needs no second copy of the tensor.
    fn values<From: Element + Pod, To: Element + Pod>(&self, start: usize, count: usize) -> Result<Vec<To>> {
        let mut values = vec![To::zeroed(); count];
        values.par_chunks_mut(PART_VALUES).enumerate().try_for_each_init(Vec::new, |buffer, (index, part)| {
            let start = start + index * PART_VALUES * size_of::<From>();
            if TypeId::of::<From>() == TypeId::of::<To>() {
                return self.read_at(start, bytemuck::cast_slice_mut(part));
            }
            buffer.resize(part.len(), From::zeroed());
            self.read_at(start, bytemuck::cast_slice_mut(buffer))?;
            part.iter_mut().zip(&*buffer).for_each(|(to, from)| *to = from.elem());
            Ok(())
        })?;
        Ok(values)
    }

    /// Reads bytes by the file: one that was cut is an error, where reading its map would be a signal.
    #[cfg(unix)]
    pub(super) fn read_at(&self, start: usize, buffer: &mut [u8]) -> Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, start as u64).map_err(|source| {
            match source.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    ModelError::weight_file(&self.path, "is shorter than it was: somebody changed it while it was read")
                }
                _ => ModelError::io(&self.path)(source),
            }
        })
    }

    #[cfg(not(unix))]
    pub(super) fn read_at(&self, start: usize, buffer: &mut [u8]) -> Result<()> {
        buffer.copy_from_slice(&self.map[start..start + buffer.len()]);
        Ok(())
    }
}

/// The memory of a file; should the file be cut, it is named.
#[derive(Debug)]
struct MappedFile {
    map: Mmap,
    #[cfg(target_os = "linux")]
    _name: NamedMap,
}

impl MappedFile {
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "there is no such signal"))]
    fn new(map: Mmap, path: &Path) -> Self {
        Self {
            #[cfg(target_os = "linux")]
            _name: NamedMap::new(&map, path),
            map,
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// A part of a map that a tensor can own.
struct Part {
    map: Arc<MappedFile>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

fn float_dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

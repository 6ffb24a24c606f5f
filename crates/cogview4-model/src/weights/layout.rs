//! How tensors lie in weight files: which are in which file, in which order, and the header that says so.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::DType;
use safetensors::{
    Dtype, SafeTensorError,
    tensor::{Metadata, TensorInfo},
};

/// Where values may begin.
const ALIGNMENT: usize = 8;
/// Shards grow up to this size, as in diffusers.
pub(super) const MAX_SHARD_BYTES: usize = 10_000_000_000;

/// Type and shape of a tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorLayout {
    dtype: DType,
    shape: Vec<usize>,
}

impl TensorLayout {
    /// It is written as bf16, i8, f16 or u8 where `dtype` is that, else as f32.
    pub(super) fn new(dtype: DType, shape: Vec<usize>) -> Self {
        let dtype = match dtype {
            DType::BF16 | DType::I8 | DType::F16 | DType::U8 => dtype,
            _ => DType::F32,
        };
        Self { dtype, shape }
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn num_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// The type as the header has it.
    fn header_dtype(&self) -> Dtype {
        match self.dtype {
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            DType::I8 => Dtype::I8,
            DType::U8 => Dtype::U8,
            _ => Dtype::F32,
        }
    }
}

/// Something that will be a tensor of a file.
pub(super) trait HasLayout {
    fn layout(&self) -> &TensorLayout;
}

impl HasLayout for TensorLayout {
    fn layout(&self) -> &TensorLayout {
        self
    }
}

/// The tensors of a file in their order there. Of those of the same name the last is kept.
///
/// As `safetensors::serialize` has them, but that wants all values at once: the wider types first, then by name.
pub(super) fn in_order<T: HasLayout>(tensors: impl IntoIterator<Item = (String, T)>) -> Vec<(String, T)> {
    let by_name: BTreeMap<String, T> = tensors.into_iter().collect();
    let mut tensors: Vec<_> = by_name.into_iter().collect();
    tensors.sort_by_key(|(_, tensor)| Reverse(tensor.layout().header_dtype()));
    tensors
}

/// The beginning of a safetensors file: the header's length, and names, types, shapes and places of the tensors.
pub(super) fn header<T: HasLayout>(tensors: &[(String, T)]) -> Result<Vec<u8>, SafeTensorError> {
    let mut end = 0;
    let place = |(name, tensor): &(String, T)| {
        let (start, layout) = (end, tensor.layout());
        end += layout.num_bytes();
        let (dtype, shape) = (layout.header_dtype(), layout.shape.clone());
        (name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    };
    let tensors = tensors.iter().map(place).collect();
    let metadata = Metadata::new(Some([("format".into(), "pt".into())].into()), tensors)?;
    let mut text = serde_json::to_vec(&metadata)?;
    // The values begin at a multiple of 8 bytes.
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    Ok([(text.len() as u64).to_le_bytes().as_slice(), &text].concat())
}

/// A file before any value is in it: where each tensor goes.
pub(super) struct FileLayout {
    pub(super) header: Vec<u8>,
    /// Each with the place of its first byte.
    pub(super) tensors: Vec<(String, u64, TensorLayout)>,
    /// Number of bytes of the file.
    pub(super) length: u64,
}

impl FileLayout {
    pub(super) fn new(tensors: Vec<(String, TensorLayout)>) -> Result<Self, SafeTensorError> {
        let tensors = in_order(tensors);
        let header = header(&tensors)?;
        let mut length = header.len() as u64;
        let place = |(key, layout): (String, TensorLayout)| {
            let start = length;
            length += layout.num_bytes() as u64;
            (key, start, layout)
        };
        let tensors = tensors.into_iter().map(place).collect();
        Ok(Self { header, tensors, length })
    }
}

/// The files of a component.
pub(super) struct Shards<T> {
    /// Each with its tensors.
    pub(super) files: Vec<(PathBuf, Vec<(String, T)>)>,
    /// What says which tensor is where, if there are several files.
    pub(super) index: Option<(PathBuf, String)>,
}

impl<T: HasLayout> Shards<T> {
    /// Distributes tensors, in this order: `stem.safetensors`, or files of at most so many bytes of numbers with an
    /// index; a tensor that is larger is alone in its file.
    pub(super) fn new(tensors: Vec<(String, T)>, folder: &Path, stem: &str, max_bytes: usize) -> Self {
        let mut shards: Vec<Vec<(String, T)>> = vec![Vec::new()];
        let (mut size, mut total) = (0, 0);
        for (key, tensor) in tensors {
            let bytes = tensor.layout().num_bytes();
            if size + bytes > max_bytes && size > 0 {
                shards.push(Vec::new());
                size = 0;
            }
            size += bytes;
            total += bytes;
            shards.last_mut().expect("invariant: there is a shard").push((key, tensor));
        }
        let count = shards.len();
        let mut weight_map = BTreeMap::new();
        let mut files = Vec::with_capacity(count);
        for (index, shard) in shards.into_iter().enumerate() {
            let name = match count {
                1 => format!("{stem}.safetensors"),
                _ => format!("{stem}-{:05}-of-{count:05}.safetensors", index + 1),
            };
            weight_map.extend(shard.iter().map(|(key, _)| (key.clone(), name.clone())));
            files.push((folder.join(name), shard));
        }
        let index = (count > 1).then(|| {
            let index = serde_json::json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
            (folder.join(format!("{stem}.safetensors.index.json")), format!("{index:#}"))
        });
        Self { files, index }
    }
}

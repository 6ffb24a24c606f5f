//! Single tensors to and from safetensors files, and whole modules in the layout of diffusers.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt::Display,
    io::{BufWriter, Write},
    path::Path,
};

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};
use safetensors::{
    SafeTensorError,
    tensor::{Metadata, TensorInfo},
};

use super::{TensorSource, WeightFiles, parameter_sources};
use crate::{
    error::{ModelError, Result},
    files::{AtomicFile, write_atomic},
};

/// Writes named tensors to one safetensors file, as f32 or bf16. The file is there whole or not at all, and at no time
/// is more than one tensor in memory beside what the sources hold. Of tensors of the same name the last is written.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use cogview4_model::weights::{load_tensor, save_tensors};
///
/// # let folder = std::env::temp_dir();
/// let path = folder.join("cogview4-latents.safetensors");
/// save_tensors(&path, [("latents", Tensor::<2>::ones([2, 3], &Device::flex()).into_data())])?;
/// assert_eq!(load_tensor::<2>(&path, "latents", &Device::flex())?.dims(), [2, 3]);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
///
/// # Errors
/// [`ModelError::Write`] names the file; so do values of another shape than their source said.
pub fn save_tensors<'a, N, T>(path: &Path, tensors: impl IntoIterator<Item = (N, T)>) -> Result<()>
where
    N: Into<String>,
    T: Into<TensorSource<'a>>,
{
    let fail = |error: &dyn Display| ModelError::Write { path: path.into(), reason: error.to_string() };
    let by_name: BTreeMap<String, TensorSource<'_>> =
        tensors.into_iter().map(|(name, tensor)| (name.into(), tensor.into())).collect();
    let mut sources: Vec<_> = by_name.into_iter().collect();
    // As `safetensors::serialize` has them, but that wants all values at once: the wider types first, then by name.
    sources.sort_by_key(|(_, source)| Reverse(source.header_dtype()));
    let header = header(&sources).map_err(|error| fail(&error))?;
    let file = AtomicFile::create(path)?;
    let mut writer = BufWriter::new(file.file());
    writer.write_all(&header).map_err(|error| fail(&error))?;
    for (name, source) in sources {
        let shape = source.shape().to_vec();
        let data = source.read();
        if data.shape().as_slice() != shape {
            return Err(fail(&format!("`{name}` has shape {:?}, announced was {shape:?}", data.shape().as_slice())));
        }
        writer.write_all(data.as_bytes()).map_err(|error| fail(&error))?;
    }
    writer.flush().map_err(|error| fail(&error))?;
    drop(writer);
    file.commit()
}

/// The beginning of a safetensors file: the header's length, and names, types, shapes and places of the tensors.
fn header(sources: &[(String, TensorSource<'_>)]) -> Result<Vec<u8>, SafeTensorError> {
    let mut end = 0;
    let place = |(name, source): &(String, TensorSource<'_>)| {
        let start = end;
        end += source.num_bytes();
        let (dtype, shape) = (source.header_dtype(), source.shape().to_vec());
        (name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    };
    let tensors = sources.iter().map(place).collect();
    let metadata = Metadata::new(Some([("format".into(), "pt".into())].into()), tensors)?;
    let mut text = serde_json::to_vec(&metadata)?;
    // The values begin at a multiple of 8 bytes.
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    Ok([(text.len() as u64).to_le_bytes().as_slice(), &text].concat())
}

/// Where values may begin.
const ALIGNMENT: usize = 8;
/// Shards grow up to this size, as in diffusers.
pub(super) const MAX_SHARD_BYTES: usize = 10_000_000_000;

/// Writes all parameters of a module in their own type: `stem.safetensors`, or shards of up to 10 GB with an index.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn save_module<M: Module>(module: &M, folder: &Path, stem: &str) -> Result<()> {
    save_sources(parameter_sources(module, None), folder, stem)
}

/// As [`save_module`], of values that are made when it is their turn.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn save_sources(sources: Vec<(String, TensorSource<'_>)>, folder: &Path, stem: &str) -> Result<()> {
    write_shards(sources, folder, stem, MAX_SHARD_BYTES)
}

/// As [`save_module`], in shards of at most so many bytes of numbers; a parameter that is larger is a shard alone.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn save_shards<M: Module>(module: &M, folder: &Path, stem: &str, max_shard_bytes: usize) -> Result<()> {
    write_shards(parameter_sources(module, None), folder, stem, max_shard_bytes)
}

/// Writes named tensors to a folder, in this order: `stem.safetensors`, or shards of at most so many bytes of numbers
/// with an index; a tensor that is larger is a shard alone. At no time is more than one of them in memory.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn write_shards(
    sources: Vec<(String, TensorSource<'_>)>,
    folder: &Path,
    stem: &str,
    max_shard_bytes: usize,
) -> Result<()> {
    let mut shards: Vec<Vec<(String, TensorSource<'_>)>> = vec![Vec::new()];
    let (mut size, mut total) = (0, 0);
    for (key, source) in sources {
        let bytes = source.num_bytes();
        if size + bytes > max_shard_bytes && size > 0 {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        total += bytes;
        shards.last_mut().expect("invariant: there is a shard").push((key, source));
    }
    let count = shards.len();
    let mut weight_map = BTreeMap::new();
    for (index, shard) in shards.into_iter().enumerate() {
        let name = match count {
            1 => format!("{stem}.safetensors"),
            _ => format!("{stem}-{:05}-of-{count:05}.safetensors", index + 1),
        };
        weight_map.extend(shard.iter().map(|(key, _)| (key.clone(), name.clone())));
        save_tensors(&folder.join(&name), shard)?;
    }
    if count > 1 {
        let index = serde_json::json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        write_atomic(&folder.join(format!("{stem}.safetensors.index.json")), format!("{index:#}").as_bytes())?;
    }
    Ok(())
}

/// Reads one tensor of a safetensors file as f32.
///
/// # Errors
/// A file that cannot be read, lacks the tensor, or holds it with another number of axes.
pub fn load_tensor<const D: usize>(path: &Path, key: &str, device: &Device) -> Result<Tensor<D>> {
    let data = WeightFiles::open_file(path)?.read(key, DType::F32)?;
    let shape = data.shape();
    if shape.as_slice().len() != D {
        let reason = format!("`{key}` has shape {:?}, expected {D} axes", shape.as_slice());
        return Err(ModelError::weight_file(path, reason));
    }
    Ok(Tensor::from_data(data, (device, DType::F32)))
}

//! Single tensors to and from safetensors files, and whole modules in the layout of diffusers.

use std::{
    fmt::Display,
    io::{BufWriter, Write},
    path::Path,
};

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};

use super::{
    TensorSource, WeightFiles,
    layout::{MAX_SHARD_BYTES, Shards, header, in_order},
    parameter_sources,
};
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
    let fail = |error: &dyn Display| ModelError::write(path, error);
    let sources = in_order(tensors.into_iter().map(|(name, tensor)| (name.into(), tensor.into())));
    let header = header(&sources).map_err(|error| fail(&error))?;
    let file = AtomicFile::create(path)?;
    let mut writer = BufWriter::new(file.file());
    writer.write_all(&header).map_err(|error| fail(&error))?;
    for (name, source) in sources {
        let shape = source.shape().to_vec();
        let data = source.read()?;
        if data.shape().as_slice() != shape {
            return Err(fail(&format!("`{name}` has shape {:?}, announced was {shape:?}", data.shape().as_slice())));
        }
        writer.write_all(data.as_bytes()).map_err(|error| fail(&error))?;
    }
    writer.flush().map_err(|error| fail(&error))?;
    drop(writer);
    file.commit()
}

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
    let shards = Shards::new(sources, folder, stem, max_shard_bytes);
    shards.files.into_iter().try_for_each(|(path, tensors)| save_tensors(&path, tensors))?;
    shards.index.map_or(Ok(()), |(path, text)| write_atomic(&path, text.as_bytes()))
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

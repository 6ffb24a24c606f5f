//! Single tensors to and from safetensors files, and whole modules in the layout of diffusers.

use std::{collections::BTreeMap, path::Path};

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, TensorData},
};
use safetensors::{Dtype, tensor::TensorView};

use super::{WeightFiles, named_parameters};
use crate::{
    error::{ModelError, Result},
    files::write_atomic,
};

/// Writes named tensors to one safetensors file, as f32 or bf16. The file is there whole or not at all.
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
/// [`ModelError::Write`] names the file.
pub fn save_tensors<N: Into<String>>(path: &Path, tensors: impl IntoIterator<Item = (N, TensorData)>) -> Result<()> {
    let fail = |error: safetensors::SafeTensorError| ModelError::Write { path: path.into(), reason: error.to_string() };
    let tensors: BTreeMap<String, _> =
        tensors.into_iter().map(|(name, data)| (name.into(), as_written(data))).collect();
    let views: Vec<_> =
        tensors.iter().map(|(name, data)| Ok((name, view(data)?))).collect::<Result<_, _>>().map_err(fail)?;
    write_atomic(path, &safetensors::serialize(views, Some([("format".into(), "pt".into())].into())).map_err(fail)?)
}

/// Shards grow up to this size, as in diffusers.
const MAX_SHARD_BYTES: usize = 10_000_000_000;

/// Writes all parameters of a module in their own type: `stem.safetensors`, or shards of up to 10 GB with an index.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn save_module<M: Module>(module: &M, folder: &Path, stem: &str) -> Result<()> {
    save_shards(module, folder, stem, MAX_SHARD_BYTES)
}

/// As [`save_module`], in shards of at most so many bytes of numbers; a parameter that is larger is a shard alone.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn save_shards<M: Module>(module: &M, folder: &Path, stem: &str, max_shard_bytes: usize) -> Result<()> {
    let mut shards: Vec<Vec<(String, TensorData)>> = vec![Vec::new()];
    let (mut size, mut total) = (0, 0);
    for parameter in named_parameters(module) {
        let bytes = parameter.1.as_bytes().len();
        if size + bytes > max_shard_bytes && size > 0 {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        total += bytes;
        shards.last_mut().expect("invariant: there is a shard").push(parameter);
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

/// Keeps bf16; all else becomes f32.
fn as_written(data: TensorData) -> TensorData {
    if data.dtype() == DType::BF16 { data } else { data.convert_dtype(DType::F32) }
}

fn view(data: &TensorData) -> Result<TensorView<'_>, safetensors::SafeTensorError> {
    let dtype = if data.dtype() == DType::BF16 { Dtype::BF16 } else { Dtype::F32 };
    TensorView::new(dtype, data.shape().as_slice().to_vec(), data.as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Linear;

    #[test]
    fn shards_hold_what_one_file_holds() {
        let device = crate::DeviceSpec::default().open().expect("a device");
        let layers: Vec<Linear> = (0..3).map(|_| Linear::init(4, 6, &device)).collect();
        let [whole, parts] = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
        save_module(&layers, whole.path(), "model").expect("one file");
        save_shards(&layers, parts.path(), "model", 130).expect("shards");
        let [whole, parts] = [whole, parts].map(|folder| {
            let count = std::fs::read_dir(folder.path()).expect("the folder").count();
            (count, WeightFiles::open(folder.path(), "model").expect("the files"))
        });
        assert_eq!((whole.0, parts.0), (1, 4), "three shards and an index");
        for key in whole.1.keys() {
            let read =
                |files: &WeightFiles| files.read(key, DType::F32).expect("the key").try_to_vec::<f32>().expect("f32");
            assert_eq!(read(&whole.1), read(&parts.1), "{key}");
        }
        assert_eq!(whole.1.keys().count(), parts.1.keys().count());
    }
}

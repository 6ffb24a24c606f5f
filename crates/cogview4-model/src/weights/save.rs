//! Single tensors to and from safetensors files.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::{Dtype, tensor::TensorView};

use super::WeightFiles;
use crate::{
    error::{ModelError, Result},
    files::write_atomic,
};

/// Writes named tensors to one safetensors file, as f32. The file is there whole or not at all.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn save_tensors<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a str, TensorData)>) -> Result<()> {
    let fail = |error: safetensors::SafeTensorError| ModelError::Write { path: path.into(), reason: error.to_string() };
    let tensors: BTreeMap<_, _> =
        tensors.into_iter().map(|(name, data)| (name, data.convert_dtype(DType::F32))).collect();
    let views: Vec<_> =
        tensors.iter().map(|(name, data)| Ok((*name, view(data)?))).collect::<Result<_, _>>().map_err(fail)?;
    write_atomic(path, &safetensors::serialize(views, None).map_err(fail)?)
}

fn view(data: &TensorData) -> Result<TensorView<'_>, safetensors::SafeTensorError> {
    TensorView::new(Dtype::F32, data.shape().as_slice().to_vec(), data.as_bytes())
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

//! A tensor on its way to a file: what the file's header says of it now, its values when it is their turn.

use std::fmt;

use burn::tensor::{DType, TensorData};

use super::layout::{HasLayout, TensorLayout};
use crate::error::Result;

/// A tensor to write, as f32 or bf16, as codes (i8) and scales (f16) of a matrix in 8 bits, or as bytes (u8). Its values
/// are made when they are written, and gone before those of the next tensor are made.
///
/// ```
/// use burn::tensor::{DType, TensorData};
/// use cogview4_model::weights::{TensorSource, save_tensors};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let parts = (0..3).map(|index| {
///     let zeros = || TensorData::zeros::<f32, _>([1000, 1000]);
///     (format!("parts.{index}"), TensorSource::new(DType::F32, [1000, 1000], zeros))
/// });
/// save_tensors(&folder.path().join("parts.safetensors"), parts)?;
/// # Ok::<(), cogview4_model::ModelError>(())
/// ```
pub struct TensorSource<'a> {
    layout: TensorLayout,
    read: Box<dyn FnOnce() -> Result<TensorData> + Send + 'a>,
}

impl<'a> TensorSource<'a> {
    /// A tensor of this shape; `read` makes its values when it is their turn. It is written as bf16, i8, f16 or u8
    /// where `dtype` is that, else as f32, and values of another type are converted.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>, read: impl FnOnce() -> TensorData + Send + 'a) -> Self {
        Self::fallible(dtype, shape, || Ok(read()))
    }

    /// As [`new`](Self::new), of values that may not be there any more when it is their turn.
    pub fn fallible(
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        read: impl FnOnce() -> Result<TensorData> + Send + 'a,
    ) -> Self {
        Self { layout: TensorLayout::new(dtype, shape.into()), read: Box::new(read) }
    }

    /// The type in the file.
    pub fn dtype(&self) -> DType {
        self.layout.dtype()
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// Number of bytes in the file.
    pub fn num_bytes(&self) -> usize {
        self.layout.num_bytes()
    }

    /// The values, in the type of the file.
    ///
    /// # Errors
    /// Those of what they are read from.
    pub fn read(self) -> Result<TensorData> {
        Ok((self.read)()?.convert_dtype(self.layout.dtype()))
    }
}

impl HasLayout for TensorSource<'_> {
    fn layout(&self) -> &TensorLayout {
        &self.layout
    }
}

impl From<TensorData> for TensorSource<'_> {
    fn from(data: TensorData) -> Self {
        let (dtype, shape) = (data.dtype(), data.shape().as_slice().to_vec());
        Self::new(dtype, shape, move || data)
    }
}

impl fmt::Debug for TensorSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorSource").field("layout", &self.layout).finish_non_exhaustive()
    }
}

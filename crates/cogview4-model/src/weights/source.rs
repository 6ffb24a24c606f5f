//! A tensor on its way to a file: what the file's header says of it now, its values when it is their turn.

use std::fmt;

use burn::tensor::{DType, TensorData};
use safetensors::Dtype;

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
    dtype: DType,
    shape: Vec<usize>,
    read: Box<dyn FnOnce() -> TensorData + 'a>,
}

impl<'a> TensorSource<'a> {
    /// A tensor of this shape; `read` makes its values when it is their turn. It is written as bf16, i8, f16 or u8
    /// where `dtype` is that, else as f32, and values of another type are converted.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>, read: impl FnOnce() -> TensorData + 'a) -> Self {
        let dtype = match dtype {
            DType::BF16 | DType::I8 | DType::F16 | DType::U8 => dtype,
            _ => DType::F32,
        };
        Self { dtype, shape: shape.into(), read: Box::new(read) }
    }

    /// The type in the file.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of bytes in the file.
    pub fn num_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// The values, in the type of the file.
    pub fn read(self) -> TensorData {
        (self.read)().convert_dtype(self.dtype)
    }

    /// The type as the header has it.
    pub(super) fn header_dtype(&self) -> Dtype {
        match self.dtype {
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            DType::I8 => Dtype::I8,
            DType::U8 => Dtype::U8,
            _ => Dtype::F32,
        }
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
        let Self { dtype, shape, .. } = self;
        f.debug_struct("TensorSource").field("dtype", dtype).field("shape", shape).finish_non_exhaustive()
    }
}

//! Weights in 8 bits, in blocks of 32 values that share a scale (GGUF's Q8_0): 1.06 bytes a value, and half a percent
//! of error for normal values.

mod codec;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, sync::Arc};

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};

use super::{fused, linear};
use crate::error::{ModelError, Result};

/// Values of a row that share a scale; the last block of a row may be shorter.
pub const BLOCK_VALUES: usize = 32;

/// Bytes that several hold: memory of their own, or part of a file that is mapped.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A frozen weight `[out, in]`: a code in 8 bits for each value, and a scale for each block of a row. A value is its
/// code times the scale. Clones share the memory.
#[derive(Clone)]
pub struct QuantizedMatrix {
    codes: SharedBytes,
    scales: SharedBytes,
    dims: [usize; 2],
}

impl QuantizedMatrix {
    /// From codes `[out, in]`, each an `i8`, and scales `[out, ceil(in / 32)]` in f16, little-endian.
    ///
    /// # Errors
    /// [`ModelError::BadInput`] where sizes do not fit each other.
    pub fn new(codes: SharedBytes, scales: SharedBytes, [rows, width]: [usize; 2]) -> Result<Self> {
        let bytes = |columns: usize, of_each| rows.saturating_mul(columns).saturating_mul(of_each);
        let expected = [bytes(width, 1), bytes(width.div_ceil(BLOCK_VALUES), size_of::<f16>())];
        let found = [&codes, &scales].map(|bytes| (**bytes).as_ref().len());
        if expected != found {
            let reason =
                format!("[{rows}, {width}] in 8 bits are {expected:?} bytes of codes and scales, not {found:?}");
            return Err(ModelError::bad_input("quantized weight", reason));
        }
        let scales = match typed::<f16>((*scales).as_ref()) {
            Cow::Borrowed(_) => scales,
            Cow::Owned(aligned) => shared(aligned),
        };
        Ok(Self { codes, scales, dims: [rows, width] })
    }

    /// Quantises `[out, in]` values of a floating-point type: codes are rounded to the nearest, and the largest of a
    /// block gets 127.
    ///
    /// # Errors
    /// [`ModelError::BadInput`] for values that are not `[out, in]` floating-point numbers, or not finite, or beyond
    /// what a scale can say (8.3 million).
    pub fn quantize(values: &TensorData) -> Result<Self> {
        let bad = |reason: String| ModelError::bad_input("weight", reason);
        let shape = values.shape().as_slice().to_vec();
        let dims: [usize; 2] =
            shape.clone().try_into().map_err(|_| bad(format!("has shape {shape:?}, a matrix is asked for")))?;
        let encoded = match values.dtype() {
            DType::BF16 => codec::encode(&typed::<bf16>(values.as_bytes()), dims[1]),
            DType::F32 => codec::encode(&typed::<f32>(values.as_bytes()), dims[1]),
            DType::F16 | DType::F64 => return Self::quantize(&values.clone().convert_dtype(DType::F32)),
            other => return Err(bad(format!("has type {other:?}, a floating-point type is asked for"))),
        };
        let (codes, scales) = encoded.map_err(|index| {
            let [row, column] = [index / dims[1], index % dims[1]];
            bad(format!("the value at [{row}, {column}] is not finite, or too large for 8 bits"))
        })?;
        Ok(Self { codes: shared(codes), scales: shared(scales), dims })
    }

    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        self.dims
    }

    /// Bytes of codes and scales.
    pub fn bytes(&self) -> usize {
        self.codes_bytes().len() + self.scales_bytes().len()
    }

    /// Codes `[out, in]`, each an `i8`.
    pub fn codes_bytes(&self) -> &[u8] {
        (*self.codes).as_ref()
    }

    /// Scales `[out, ceil(in / 32)]` in f16.
    pub fn scales_bytes(&self) -> &[u8] {
        (*self.scales).as_ref()
    }

    pub(super) fn codes(&self) -> &[i8] {
        bytemuck::cast_slice(self.codes_bytes())
    }

    pub(super) fn scales(&self) -> &[f16] {
        bytemuck::cast_slice(self.scales_bytes())
    }

    /// The values, in a floating-point type.
    ///
    /// # Panics
    /// For another type.
    pub fn to_data(&self, dtype: DType) -> TensorData {
        match dtype {
            DType::BF16 => TensorData::new(codec::decode::<bf16>(self), self.dims),
            DType::F32 => TensorData::new(codec::decode::<f32>(self), self.dims),
            DType::F16 | DType::F64 => TensorData::new(codec::decode::<f32>(self), self.dims).convert_dtype(dtype),
            other => panic!("{other:?} is not a floating-point type"),
        }
    }

    /// The values as a tensor `[out, in]`.
    ///
    /// # Panics
    /// As [`to_data`](Self::to_data).
    pub fn to_tensor(&self, dtype: DType, device: &Device) -> Tensor<2> {
        Tensor::from_data(self.to_data(dtype), (device, dtype))
    }
}

impl fmt::Debug for QuantizedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuantizedMatrix").field("dims", &self.dims).finish_non_exhaustive()
    }
}

/// Bytes as values; copied where they are not aligned, as in a file they need not be.
fn typed<T: bytemuck::Pod>(bytes: &[u8]) -> Cow<'_, [T]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(values) => Cow::Borrowed(values),
        Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
    }
}

/// Memory of its own.
fn shared<T: bytemuck::Pod + Send + Sync>(values: Vec<T>) -> SharedBytes {
    struct Owned<T>(Vec<T>);
    impl<T: bytemuck::Pod> AsRef<[u8]> for Owned<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Arc::new(Owned(values))
}

/// As [`linear`], of a frozen weight in 8 bits: on the CPU it is widened piece by piece inside the product, elsewhere
/// as a whole before it. The input may be on the graph, the weight has no gradient.
///
/// # Shapes
/// `input` `[..., in]`, `weight` `[out, in]`, `bias` `[out]`; the result is `[..., out]`.
pub fn quantized_linear<const D: usize>(
    input: Tensor<D>,
    weight: &QuantizedMatrix,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = input.dims();
    let [features_out, features_in] = weight.dims();
    if !fused::serves_quantized(&input) {
        let (device, dtype) = (input.device(), input.dtype());
        return linear(input, weight.to_tensor(dtype, &device), bias);
    }
    let rows: usize = dims[..D - 1].iter().product();
    let bias = bias.unwrap_or_else(|| Tensor::zeros([features_out], (&input.device(), input.dtype())));
    dims[D - 1] = features_out;
    fused::quantized_linear(input.reshape([rows, features_in]), weight.clone(), bias).reshape(dims)
}

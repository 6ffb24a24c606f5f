//! Tensors of libtorch whose memory is somebody else's, such as a file's.

use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    backend::{Backend, Dispatch, LibTorch, backend_extension, libtorch::TchTensor, tensor::FloatTensor},
    tensor::{DType, Device, Tensor, TensorData},
};

/// A tensor beside `like` that shares the memory of `data`, of floating-point numbers.
#[backend_extension(LibTorch)]
pub(in crate::ops::fused) trait BorrowOps: Backend {
    fn borrowed(like: FloatTensor<Self>, data: TensorData) -> FloatTensor<Self>;
}

/// The values of a file as a tensor of libtorch's CPU, not copied.
pub(in crate::ops::fused) fn borrowed<const D: usize>(data: TensorData, device: &Device) -> Tensor<D> {
    let like = Tensor::<1>::zeros([1], device).into_dispatch();
    Tensor::from_dispatch(<Dispatch as BorrowOps>::borrowed(like, data))
}

/// Memory that tensors share, and for each the tensor that says whether any other does.
static LENT: Mutex<Vec<(TchTensor, TensorData)>> = Mutex::new(Vec::new());

impl BorrowOps for LibTorch {
    #[expect(unsafe_code, reason = "libtorch is told of memory that is not its own")]
    fn borrowed(_: TchTensor, data: TensorData) -> TchTensor {
        let kind = match data.dtype() {
            DType::F64 => tch::Kind::Double,
            DType::F32 => tch::Kind::Float,
            DType::F16 => tch::Kind::Half,
            DType::BF16 => tch::Kind::BFloat16,
            other => unreachable!("invariant: a floating-point type, not {other:?}"),
        };
        let size: Vec<i64> = data.shape().iter().map(|&dim| dim as i64).collect();
        let bytes: &[u8] = data.bytes();
        assert_eq!(
            bytes.len(),
            data.shape().iter().product::<usize>() * data.dtype().size(),
            "invariant: as many values"
        );
        assert!(bytes.as_ptr().addr().is_multiple_of(data.dtype().size()), "invariant: aligned values");
        let mut strides = vec![1; size.len()];
        for axis in (1..size.len()).rev() {
            strides[axis - 1] = strides[axis] * size[axis];
        }
        // SAFETY: the memory holds as many values of the type as the shape says, and does not move with `data`. It is
        // freed no earlier than all tensors that use it, and not written to: Burn counts who holds a tensor's storage
        // and changes in place what has one holder only, and here there is always one more, in `LENT`.
        let tensor = unsafe { tch::Tensor::from_blob(bytes.as_ptr(), &size, &strides, kind, tch::Device::Cpu) };
        let tensor = TchTensor::new(tensor);
        forget_returned();
        LENT.lock().unwrap_or_else(PoisonError::into_inner).push((tensor.clone(), data));
        tensor
    }
}

/// Lets memory go that no tensor has any more.
pub(in crate::ops::fused) fn forget_returned() {
    LENT.lock().unwrap_or_else(PoisonError::into_inner).retain(|(tensor, _)| is_shared(tensor));
}

/// Whether somebody else holds the storage of a tensor.
fn is_shared(tensor: &TchTensor) -> bool {
    Arc::strong_count(tensor.storage.buffer_ref()) > 1
}

//! libtorch: on its CPU, tensors are reached by our kernels; on other devices its own operations are called, as few as
//! there are for each of ours.

mod attention;
mod borrowed;
mod graph;
mod picture;
mod rows;
#[cfg(test)]
mod tests;

use burn::{
    backend::{LibTorch, TensorMetadata, libtorch::TchTensor},
    tensor::DType,
};

use super::{
    gelu::GeluOps,
    has_host_kernels,
    host::{self, HostTensor, Value},
    linear::LinearOps,
    quantized::QuantizedOps,
    simd,
};
use crate::ops::QuantizedMatrix;

pub(super) use borrowed::{borrowed, forget_returned};

impl HostTensor for TchTensor {
    fn dtype(&self) -> DType {
        TensorMetadata::dtype(self)
    }

    fn shape(&self) -> Vec<usize> {
        self.tensor.size().into_iter().map(|dim| dim as usize).collect()
    }

    fn contiguous(&self) -> Self {
        if self.tensor.is_contiguous() { self.clone() } else { Self::new(self.tensor.contiguous()) }
    }

    #[expect(unsafe_code, reason = "the memory is libtorch's")]
    fn values<T: Value>(&self) -> &[T] {
        assert!(self.is_host::<T>(), "invariant: values of this type, in order, on the CPU");
        // SAFETY: by the assertion the memory holds `numel` values of `T`; it lives as long as the tensor, which is not
        // written to while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.tensor.data_ptr().cast(), self.tensor.numel()) }
    }

    #[expect(unsafe_code, reason = "the memory is libtorch's")]
    fn filled<T: Value>(&self, dims: &[usize], fill: impl FnOnce(&mut [T])) -> Self {
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let output = Self::new(tch::Tensor::empty(dims, (self.tensor.kind(), self.tensor.device())));
        assert!(output.is_host::<T>(), "invariant: values of this type, in order, on the CPU");
        // SAFETY: as above, and nobody else has the new tensor. Its values are not set, and only written to: any bits
        // are a value of `T`.
        fill(unsafe { std::slice::from_raw_parts_mut(output.tensor.data_ptr().cast(), output.tensor.numel()) });
        output
    }
}

/// Whether the memory can be read as a slice.
trait IsHost {
    fn is_host<T: Value>(&self) -> bool;
}

impl IsHost for TchTensor {
    fn is_host<T: Value>(&self) -> bool {
        self.tensor.device() == tch::Device::Cpu
            && self.tensor.is_contiguous()
            && self.tensor.numel() > 0
            && TensorMetadata::dtype(self) == T::dtype()
    }
}

impl GeluOps for LibTorch {
    fn fused_gelu_tanh(input: TchTensor) -> TchTensor {
        match is_host(&input) {
            true => host::map(&input, simd::gelu_tanh),
            false => TchTensor::new(input.tensor.gelu("tanh")),
        }
    }

    fn fused_gelu_tanh_backward(input: TchTensor, grad: TchTensor) -> TchTensor {
        match is_host(&input) {
            true => host::multiply(&input, &grad, simd::gelu_tanh_slope),
            false => TchTensor::new(input.tensor.gelu_backward(&grad.tensor, "tanh")),
        }
    }
}

impl LinearOps for LibTorch {
    fn fused_linear(input: TchTensor, weight: TchTensor, bias: TchTensor) -> TchTensor {
        let product = is_narrow(&input).then(|| host::products::linear(&input, &weight, &bias)).flatten();
        product.unwrap_or_else(|| TchTensor::new(input.tensor.linear(&weight.tensor, Some(&bias.tensor))))
    }

    fn fused_linear_backward(
        input: TchTensor,
        weight: TchTensor,
        grad: TchTensor,
    ) -> (TchTensor, TchTensor, TchTensor) {
        if let Some(gradients) =
            is_narrow(&input).then(|| host::products::linear_backward(&input, &weight, &grad)).flatten()
        {
            return gradients;
        }
        let (input, weight, grad) = (input.tensor, weight.tensor, grad.tensor);
        let of_bias = grad.sum_dim_intlist(0, false, grad.kind());
        let of_weight = grad.transpose(0, 1).matmul(&input);
        (TchTensor::new(grad.matmul(&weight)), TchTensor::new(of_weight), TchTensor::new(of_bias))
    }
}

impl QuantizedOps for LibTorch {
    fn fused_quantized_linear(input: TchTensor, bias: TchTensor, weight: QuantizedMatrix) -> TchTensor {
        host::products::quantized_linear(&input, &weight, &bias)
    }
}

/// Whether our kernels compute this type, where this tensor is.
fn is_host(tensor: &TchTensor) -> bool {
    has_host_kernels()
        && tensor.tensor.device() == tch::Device::Cpu
        && matches!(TensorMetadata::dtype(tensor), DType::F32 | DType::BF16)
}

/// Whether our products are taken: in f32 those of libtorch are as good.
fn is_narrow(tensor: &TchTensor) -> bool {
    is_host(tensor) && TensorMetadata::dtype(tensor) == DType::BF16
}

/// Whether products of this type are better taken in f32.
fn is_slow(tensor: &tch::Tensor) -> bool {
    tensor.device() == tch::Device::Cpu && tensor.kind() == tch::Kind::BFloat16 && !host::products::has_bf16()
}

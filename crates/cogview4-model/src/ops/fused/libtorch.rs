//! libtorch's own attention and linear layers, forward and backward; on its CPU, tensors are reached by our kernels.

use burn::{
    backend::{LibTorch, TensorMetadata, libtorch::TchTensor, tensor::FloatTensor},
    tensor::DType,
};

use super::{
    attention::{AttentionOps, composed},
    gelu::GeluOps,
    host::{self, HostTensor, Value},
    linear::LinearOps,
    picture::{PictureOps, RecordedPictureOps},
    quantized::QuantizedOps,
    rows::RowOps,
    simd,
};
use crate::ops::QuantizedMatrix;

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

impl AttentionOps for LibTorch {
    fn fused_attention(
        query: TchTensor,
        key: TchTensor,
        value: TchTensor,
        bias: TchTensor,
        is_causal: bool,
    ) -> (TchTensor, TchTensor) {
        if query.tensor.device() != tch::Device::Cpu {
            return composed::attention::<Self>(query, key, value, bias, is_causal);
        }
        let kind = attention_kind(&query);
        let [q, k, v] = [&query, &key, &value].map(|tensor| rows_in_order(tensor, kind));
        let mask = mask(&bias, &query, kind);
        let (output, logsumexp) =
            tch::Tensor::internal_scaled_dot_product_flash_attention_for_cpu(&q, &k, &v, 0.0, is_causal, mask, None);
        (TchTensor::new(output.to_kind(query.tensor.kind())), TchTensor::new(logsumexp))
    }

    fn fused_attention_backward(
        grad: TchTensor,
        query: TchTensor,
        key: TchTensor,
        value: TchTensor,
        bias: TchTensor,
        output: TchTensor,
        logsumexp: TchTensor,
        is_causal: bool,
    ) -> (TchTensor, TchTensor, TchTensor) {
        if query.tensor.device() != tch::Device::Cpu {
            return composed::attention_backward::<Self>([grad, query, key, value, bias, output], is_causal);
        }
        let (kind, narrow) = (attention_kind(&query), query.tensor.kind());
        let mask = mask(&bias, &query, kind);
        let [grad, query, key, value, output] =
            [&grad, &query, &key, &value, &output].map(|tensor| rows_in_order(tensor, kind));
        let (query, key, value) = tch::Tensor::internal_scaled_dot_product_flash_attention_for_cpu_backward(
            &grad,
            &query,
            &key,
            &value,
            &output,
            &logsumexp.tensor,
            0.0,
            is_causal,
            mask,
            None,
        );
        let [query, key, value] = [query, key, value].map(|grad| TchTensor::new(grad.to_kind(narrow)));
        (query, key, value)
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
        let product = is_host(&input).then(|| host::products::linear(&input, &weight, &bias)).flatten();
        product.unwrap_or_else(|| TchTensor::new(input.tensor.linear(&weight.tensor, Some(&bias.tensor))))
    }

    fn fused_linear_backward(
        input: TchTensor,
        weight: TchTensor,
        grad: TchTensor,
    ) -> (TchTensor, TchTensor, TchTensor) {
        if let Some(gradients) =
            is_host(&input).then(|| host::products::linear_backward(&input, &weight, &grad)).flatten()
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

impl RowOps for LibTorch {
    host_ops!();

    fn fused_silu(input: TchTensor) -> TchTensor {
        host::map(&input, simd::silu)
    }

    fn fused_silu_backward(input: TchTensor, grad: TchTensor) -> TchTensor {
        host::multiply(&input, &grad, simd::silu_slope)
    }
}

/// Whether the kernels compute this type, where this tensor is.
fn is_host(tensor: &TchTensor) -> bool {
    tensor.tensor.device() == tch::Device::Cpu && matches!(TensorMetadata::dtype(tensor), DType::F32 | DType::BF16)
}

impl PictureOps for LibTorch {
    fn fused_conv2d(input: TchTensor, weight: TchTensor, bias: TchTensor, stride: usize, padding: usize) -> TchTensor {
        TchTensor::new(conv2d([&input.tensor, &weight.tensor, &bias.tensor], stride, padding))
    }

    fn fused_group_norm(input: TchTensor, weight: TchTensor, bias: TchTensor, groups: usize, eps: f64) -> TchTensor {
        TchTensor::new(group_norm([&input.tensor, &weight.tensor, &bias.tensor], groups, eps))
    }
}

impl RecordedPictureOps for LibTorch {
    type Graph = Graph;

    fn recorded_conv2d(inputs: [TchTensor; 3], stride: usize, padding: usize) -> (TchTensor, Graph) {
        Graph::record(inputs, |inputs| conv2d(inputs, stride, padding))
    }

    fn recorded_group_norm(inputs: [TchTensor; 3], groups: usize, eps: f64) -> (TchTensor, Graph) {
        Graph::record(inputs, |inputs| group_norm(inputs, groups, eps))
    }

    fn gradients(graph: Graph, grad: TchTensor) -> [TchTensor; 3] {
        // A product with the gradient as it is: libtorch lets nobody hand one to a graph.
        let weighted = (graph.output.tensor * &grad.tensor).sum(grad.tensor.kind());
        let leaves = graph.leaves.map(|leaf| leaf.tensor);
        let gradients = tch::Tensor::run_backward(&[weighted], &leaves, false, false);
        let gradients: [tch::Tensor; 3] = gradients.try_into().expect("invariant: one for each leaf");
        gradients.map(TchTensor::new)
    }
}

/// An operation on libtorch's own graph.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    leaves: [TchTensor; 3],
    output: TchTensor,
}

impl Graph {
    fn record(inputs: [TchTensor; 3], forward: impl FnOnce([&tch::Tensor; 3]) -> tch::Tensor) -> (TchTensor, Self) {
        // The storage is shared, so that Burn, which counts who holds it, changes nothing in place.
        let leaf = |input: TchTensor| TchTensor {
            tensor: input.tensor.detach().set_requires_grad(true),
            storage: input.storage,
        };
        let leaves = inputs.map(leaf);
        let output = TchTensor::new(forward(leaves.each_ref().map(|leaf| &leaf.tensor)));
        let detached = TchTensor { tensor: output.tensor.detach(), storage: output.storage.clone() };
        (detached, Self { leaves, output })
    }
}

fn conv2d(inputs: [&tch::Tensor; 3], stride: usize, padding: usize) -> tch::Tensor {
    let (stride, padding) = ([stride as i64; 2], [padding as i64; 2]);
    let convolve =
        |[input, weight, bias]: [&tch::Tensor; 3]| input.conv2d(weight, Some(bias), stride, padding, [1, 1], 1);
    let narrow = inputs[0].kind();
    if is_slow(inputs[0]) {
        let wide = inputs.map(|tensor| tensor.to_kind(tch::Kind::Float));
        return convolve(wide.each_ref()).to_kind(narrow);
    }
    convolve(inputs)
}

/// Whether products of this type are better taken in f32.
fn is_slow(tensor: &tch::Tensor) -> bool {
    tensor.device() == tch::Device::Cpu && tensor.kind() == tch::Kind::BFloat16 && !host::products::has_bf16()
}

fn group_norm([input, weight, bias]: [&tch::Tensor; 3], groups: usize, eps: f64) -> tch::Tensor {
    input.group_norm(groups as i64, Some(weight), Some(bias), eps, false)
}

/// Queries from which libtorch takes them in large blocks.
const LARGE_BLOCKS: i64 = 768;

/// The type that attention is computed in. In bfloat16 each product of a block of queries is set up by oneDNN, which
/// for small blocks takes several times as long as the product; those in f32 are called directly.
fn attention_kind(query: &TchTensor) -> tch::Kind {
    match query.tensor.kind() {
        _ if is_slow(&query.tensor) => tch::Kind::Float,
        tch::Kind::BFloat16 if query.tensor.size()[2] < LARGE_BLOCKS => tch::Kind::Float,
        kind => kind,
    }
}

/// The kernels want the values of a head to lie next to each other.
fn rows_in_order(tensor: &TchTensor, kind: tch::Kind) -> tch::Tensor {
    let tensor = tensor.tensor.to_kind(kind);
    if tensor.stride().last() == Some(&1) { tensor } else { tensor.contiguous() }
}

/// A bias of more than one value, for every query.
fn mask(bias: &TchTensor, query: &TchTensor, kind: tch::Kind) -> Option<tch::Tensor> {
    let (size, seq_query) = (bias.tensor.size(), query.tensor.size()[2]);
    (bias.tensor.numel() > 1).then(|| bias.tensor.to_kind(kind).expand([size[0], 1, seq_query, size[3]], false))
}

//! GELU in its tanh form with a backward of its own, on every backend: of the widest tensor of a block only the input
//! is kept. Computed in f32 at least, and rounded once.

use burn::{
    backend::{
        Backend, Dispatch,
        autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Tensor},
};

use super::{
    autodiff::{inner, record},
    precision::{cast, wide},
};

/// `2 sqrt(2 / pi)`.
const LINEAR: f64 = 1.595_769_121_605_730_8;
/// The factor of the cube.
const CUBIC: f64 = 0.044_715 * LINEAR;

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`, computed through `(1 + tanh(u)) / 2 = sigmoid(2 u)`.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(any(feature = "cuda", feature = "wgpu")),
    Fusion: cfg(any(feature = "cuda", feature = "wgpu"))
)]
pub(super) trait GeluOps: Backend {
    #[fusion(default)]
    fn fused_gelu_tanh(input: FloatTensor<Self>) -> FloatTensor<Self> {
        forward::<Self>(input)
    }

    #[fusion(default)]
    fn fused_gelu_tanh_backward(input: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        backward::<Self>(input, grad)
    }
}

/// CubeCL fuses what the default is composed of.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl GeluOps for burn_cubecl::CubeBackend {}

impl<B: GeluOps, C: CheckpointStrategy> GeluOps for Autodiff<B, C> {
    fn fused_gelu_tanh(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = inner::<B, C>(&input);
        let output = B::fused_gelu_tanh(x.clone());
        record::<B, C, _, 1>(&[input], output, || x, |x, grad| [B::fused_gelu_tanh_backward(x, grad)])
    }
}

/// `sigmoid(x (a + b x^2))`, in the wide type.
fn gate<B: Backend>(input: FloatTensor<B>) -> FloatTensor<B> {
    let square = B::float_mul(input.clone(), input.clone());
    let factor = B::float_add_scalar(B::float_mul_scalar(square, CUBIC.into()), LINEAR.into());
    let exponential = B::float_exp(B::float_neg(B::float_mul(input, factor)));
    B::float_recip(B::float_add_scalar(exponential, 1.0.into()))
}

pub(super) fn forward<B: Backend>(input: FloatTensor<B>) -> FloatTensor<B> {
    let dtype: DType = burn::backend::TensorMetadata::dtype(&input);
    let input = cast::<B>(input, wide(dtype));
    cast::<B>(B::float_mul(input.clone(), gate::<B>(input)), dtype)
}

/// `grad * (g + x g (1 - g) (a + 3 b x^2))`, where `g` is the gate.
pub(super) fn backward<B: Backend>(input: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let dtype: DType = burn::backend::TensorMetadata::dtype(&input);
    let (input, grad) = (cast::<B>(input, wide(dtype)), cast::<B>(grad, wide(dtype)));
    let gate = gate::<B>(input.clone());
    let square = B::float_mul(input.clone(), input.clone());
    let inner = B::float_add_scalar(B::float_mul_scalar(square, (3.0 * CUBIC).into()), LINEAR.into());
    let closing = B::float_add_scalar(B::float_neg(gate.clone()), 1.0.into());
    let slope = B::float_mul(B::float_mul(B::float_mul(input, inner), gate.clone()), closing);
    cast::<B>(B::float_mul(grad, B::float_add(gate, slope)), dtype)
}

/// See [`ops::gelu_tanh`](crate::ops::gelu_tanh).
pub(in crate::ops) fn gelu_tanh<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as GeluOps>::fused_gelu_tanh(input.into_dispatch()))
}

//! Norms, modulations and SiLU, row by row: kernels with a backward of their own where a backend brings them. Backwards
//! have no graph of their own: there are first derivatives only.

#[cfg_attr(not(any(feature = "cuda", feature = "wgpu")), allow(dead_code, reason = "CubeCL composes"))]
mod composed;

use burn::{
    backend::{
        Backend, Dispatch,
        autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Tensor},
};

use super::autodiff::{inner, record};
use crate::ops::RotaryTable;

/// The kernels that a backend brings; those that bring none compose them.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(any(feature = "cuda", feature = "wgpu")),
    Fusion: cfg(any(feature = "cuda", feature = "wgpu"))
)]
pub(super) trait RowOps: Backend {
    #[fusion(default)]
    fn fused_modulate(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        split: usize,
        eps: f64,
    ) -> FloatTensor<Self> {
        composed::modulate::<Self>([input, scale, shift], split, eps)
    }

    #[fusion(default)]
    fn fused_gated_add(
        residual: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        split: usize,
    ) -> FloatTensor<Self> {
        composed::gated_add::<Self>([residual, output, gate], split)
    }

    #[fusion(default)]
    fn fused_norm_rotate(
        input: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        composed::norm_rotate::<Self>([input, cos, sin], eps)
    }

    #[fusion(default)]
    fn fused_silu(input: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::silu::<Self>(input)
    }
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod cube {
    use burn::backend::fusion::{Fusion, FusionBackend};
    use burn_cubecl::CubeBackend;

    use super::{composed::Inputs, *};

    impl RowOps for CubeBackend {}

    /// Every backward is composed, whether operations are fused or not.
    macro_rules! composed_backwards {
        () => {
            type Norm = Inputs<FloatTensor<Self>>;

            fn recorded_modulate(
                inputs: [FloatTensor<Self>; 3],
                split: usize,
                eps: f64,
            ) -> (FloatTensor<Self>, Self::Norm) {
                (composed::modulate::<Self>(inputs.clone(), split, eps), Inputs { inputs, split, eps })
            }

            fn modulate_gradients(norm: Self::Norm, grad: FloatTensor<Self>) -> [FloatTensor<Self>; 3] {
                composed::modulate_gradients::<Self>(norm, grad)
            }

            fn recorded_norm_rotate(inputs: [FloatTensor<Self>; 3], eps: f64) -> (FloatTensor<Self>, Self::Norm) {
                (composed::norm_rotate::<Self>(inputs.clone(), eps), Inputs { inputs, split: 0, eps })
            }

            fn norm_rotate_gradient(norm: Self::Norm, grad: FloatTensor<Self>) -> FloatTensor<Self> {
                composed::norm_rotate_gradient::<Self>(norm, grad)
            }

            fn gated_add_gradients(
                inputs: [FloatTensor<Self>; 2],
                split: usize,
                grad: FloatTensor<Self>,
            ) -> [FloatTensor<Self>; 2] {
                composed::gated_add_gradients::<Self>(inputs, split, grad)
            }

            fn silu_gradient(input: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
                composed::silu_gradient::<Self>(input, grad)
            }
        };
    }

    impl RecordedRowOps for CubeBackend {
        composed_backwards!();
    }

    impl<B: FusionBackend> RecordedRowOps for Fusion<B>
    where
        Self: RowOps,
    {
        composed_backwards!();
    }
}

/// Their backwards, and forwards that leave behind what those read.
pub(super) trait RecordedRowOps: RowOps {
    /// What a norm leaves behind.
    type Norm: Clone + Send + std::fmt::Debug + 'static;

    /// Of input, scale and shift.
    fn recorded_modulate(inputs: [FloatTensor<Self>; 3], split: usize, eps: f64) -> (FloatTensor<Self>, Self::Norm);

    /// Gradients of input, scale and shift.
    fn modulate_gradients(norm: Self::Norm, grad: FloatTensor<Self>) -> [FloatTensor<Self>; 3];

    /// Of input, cosines and sines.
    fn recorded_norm_rotate(inputs: [FloatTensor<Self>; 3], eps: f64) -> (FloatTensor<Self>, Self::Norm);

    /// The gradient of the input.
    fn norm_rotate_gradient(norm: Self::Norm, grad: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradients of output and gate; that of the residual is the gradient itself.
    fn gated_add_gradients(
        inputs: [FloatTensor<Self>; 2],
        split: usize,
        grad: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];

    /// The gradient of the input.
    fn silu_gradient(input: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Forward as the backend beneath does it; one step on the graph.
impl<B: RecordedRowOps, C: CheckpointStrategy> RowOps for Autodiff<B, C> {
    fn fused_modulate(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        split: usize,
        eps: f64,
    ) -> FloatTensor<Self> {
        let inputs = [input, scale, shift];
        let (output, norm) = B::recorded_modulate(inputs.each_ref().map(inner::<B, C>), split, eps);
        record::<B, C, _, 3>(&inputs, output, || norm, B::modulate_gradients)
    }

    fn fused_gated_add(
        residual: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        split: usize,
    ) -> FloatTensor<Self> {
        let [r, o, g] = [&residual, &output, &gate].map(inner::<B, C>);
        let sum = B::fused_gated_add(r, o.clone(), g.clone(), split);
        record::<B, C, _, 3>(
            &[residual, output, gate],
            sum,
            || ([o, g], split),
            |(saved, split), grad| {
                let [output, gate] = B::gated_add_gradients(saved, split, grad.clone());
                [grad, output, gate]
            },
        )
    }

    fn fused_norm_rotate(
        input: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let (output, norm) = B::recorded_norm_rotate([&input, &cos, &sin].map(inner::<B, C>), eps);
        record::<B, C, _, 1>(&[input], output, || norm, |norm, grad| [B::norm_rotate_gradient(norm, grad)])
    }

    fn fused_silu(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = inner::<B, C>(&input);
        let output = B::fused_silu(x.clone());
        record::<B, C, _, 1>(&[input], output, || x, |x, grad| [B::silu_gradient(x, grad)])
    }
}

/// Whether a backend serves this tensor. In f64 operations are Burn's, one by one: what others are held against.
fn is_served<const D: usize>(tensor: &Tensor<D>) -> bool {
    matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

/// See [`ops::modulate`](crate::ops::modulate).
pub(in crate::ops) fn modulate(
    input: &Tensor<3>,
    [scale, shift]: [&Tensor<3>; 2],
    split: usize,
    eps: f64,
) -> Option<Tensor<3>> {
    is_served(input).then(|| {
        let [x, scale, shift] = [input, scale, shift].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as RowOps>::fused_modulate(x, scale, shift, split, eps))
    })
}

/// See [`ops::gated_add`](crate::ops::gated_add).
pub(in crate::ops) fn gated_add(
    residual: &Tensor<3>,
    output: &Tensor<3>,
    gate: &Tensor<3>,
    split: usize,
) -> Option<Tensor<3>> {
    is_served(residual).then(|| {
        let [x, output, gate] = [residual, output, gate].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as RowOps>::fused_gated_add(x, output, gate, split))
    })
}

/// See [`ops::norm_rotate`](crate::ops::norm_rotate).
pub(in crate::ops) fn norm_rotate(input: &Tensor<4>, table: &RotaryTable, eps: f64) -> Option<Tensor<4>> {
    is_served(input).then(|| {
        let [cos, sin] = [&table.cos, &table.sin].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(<Dispatch as RowOps>::fused_norm_rotate(input.clone().into_dispatch(), cos, sin, eps))
    })
}

/// See [`ops::silu`](crate::ops::silu).
pub(in crate::ops) fn silu<const D: usize>(input: &Tensor<D>) -> Option<Tensor<D>> {
    is_served(input).then(|| Tensor::from_dispatch(<Dispatch as RowOps>::fused_silu(input.clone().into_dispatch())))
}

//! Norms, modulations and SiLU: our kernels on the CPU, elsewhere the fewest of libtorch's operations. Those compute in
//! f32 and round each result to the type that came, so of two in a row the first is rounded too.

use burn::backend::{LibTorch, libtorch::TchTensor};

use super::{graph::Graph, is_host};
use crate::ops::fused::{
    host,
    rows::{RecordedRowOps, RowOps},
    simd,
};

impl RowOps for LibTorch {
    fn fused_modulate(input: TchTensor, scale: TchTensor, shift: TchTensor, eps: f64) -> TchTensor {
        match is_host(&input) {
            true => host::modulate(&input, &scale, &shift, eps as f32),
            false => TchTensor::new(modulate([&input.tensor, &scale.tensor, &shift.tensor], eps)),
        }
    }

    fn fused_gated_add(residual: TchTensor, output: TchTensor, gate: TchTensor) -> TchTensor {
        match is_host(&residual) {
            true => host::gated_add(&residual, &output, &gate),
            false => TchTensor::new(residual.tensor.addcmul(&output.tensor, &gate.tensor)),
        }
    }

    fn fused_norm_rotate(input: TchTensor, cos: TchTensor, sin: TchTensor, eps: f64) -> TchTensor {
        match is_host(&input) {
            true => host::norm_rotate(&input, &cos, &sin, eps as f32),
            false => TchTensor::new(rotated(&layer_norm(&input.tensor, eps), [&cos.tensor, &sin.tensor])),
        }
    }

    fn fused_silu(input: TchTensor) -> TchTensor {
        match is_host(&input) {
            true => host::map(&input, simd::silu),
            false => TchTensor::new(input.tensor.silu()),
        }
    }
}

/// What a norm leaves behind.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one per norm")]
pub(in crate::ops::fused) enum Norm {
    Host(host::Norm<TchTensor>),
    Modulate(Graph<3>),
    /// The norm alone, with cosines and sines of what follows it.
    Rotate(Graph<1>, [TchTensor; 2]),
}

impl RecordedRowOps for LibTorch {
    type Norm = Norm;

    fn recorded_modulate(inputs: [TchTensor; 3], eps: f64) -> (TchTensor, Norm) {
        if is_host(&inputs[0]) {
            let (output, norm) = host::Norm::modulate(inputs, eps);
            return (output, Norm::Host(norm));
        }
        let (output, graph) = Graph::record(inputs, |inputs| modulate(inputs, eps));
        (output, Norm::Modulate(graph))
    }

    fn modulate_gradients(norm: Norm, grad: TchTensor) -> [TchTensor; 3] {
        match norm {
            Norm::Host(norm) => norm.modulate_gradients(&grad),
            Norm::Modulate(graph) => graph.gradients(&grad.tensor),
            Norm::Rotate(..) => unreachable!("invariant: what `recorded_modulate` gave"),
        }
    }

    fn recorded_norm_rotate(inputs: [TchTensor; 3], eps: f64) -> (TchTensor, Norm) {
        if is_host(&inputs[0]) {
            let (output, norm) = host::Norm::norm_rotate(inputs, eps);
            return (output, Norm::Host(norm));
        }
        let [input, cos, sin] = inputs;
        let (normed, graph) = Graph::record([input], |[input]| layer_norm(input, eps));
        let output = TchTensor::new(rotated(&normed.tensor, [&cos.tensor, &sin.tensor]));
        (output, Norm::Rotate(graph, [cos, sin]))
    }

    fn norm_rotate_gradient(norm: Norm, grad: TchTensor) -> TchTensor {
        match norm {
            Norm::Host(norm) => norm.norm_rotate_gradient(&grad),
            Norm::Rotate(graph, [cos, sin]) => {
                let [of_input] = graph.gradients(&turned_back(&grad.tensor, [&cos.tensor, &sin.tensor]));
                of_input
            }
            Norm::Modulate(_) => unreachable!("invariant: what `recorded_norm_rotate` gave"),
        }
    }

    fn gated_add_gradients([output, gate]: [TchTensor; 2], grad: TchTensor) -> [TchTensor; 2] {
        if is_host(&output) {
            return host::gated_add_backward(&output, &gate, &grad).into();
        }
        gated_add_gradients([&output.tensor, &gate.tensor], &grad.tensor).map(TchTensor::new)
    }

    fn silu_gradient(input: TchTensor, grad: TchTensor) -> TchTensor {
        match is_host(&input) {
            true => host::multiply(&input, &grad, simd::silu_slope),
            false => TchTensor::new(input.tensor.silu_backward(&grad.tensor)),
        }
    }
}

/// `layer_norm(input) * (1 + scale) + shift`: within the norm, which for each sample takes these as its weight and bias.
pub(super) fn modulate([input, scale, shift]: [&tch::Tensor; 3], eps: f64) -> tch::Tensor {
    let samples = input.unbind(0).into_iter().zip((scale + 1.0).unbind(0)).zip(shift.unbind(0));
    let normed = samples.map(|((input, weight), bias)| {
        let width = *input.size().last().expect("invariant: three axes");
        input.layer_norm([width], Some(weight.view([width])), Some(bias.view([width])), eps, false)
    });
    let normed: Vec<_> = normed.collect();
    match normed.as_slice() {
        [sample] => sample.unsqueeze(0),
        samples => tch::Tensor::stack(samples, 0),
    }
}

/// Gradients of output and gate of `residual + output * gate`.
pub(super) fn gated_add_gradients([output, gate]: [&tch::Tensor; 2], grad: &tch::Tensor) -> [tch::Tensor; 2] {
    [grad * gate, (grad * output).sum_dim_intlist(1, true, grad.kind())]
}

/// The last axis, normalised.
pub(super) fn layer_norm(input: &tch::Tensor, eps: f64) -> tch::Tensor {
    let width = *input.size().last().expect("invariant: has axes");
    input.layer_norm([width], None::<tch::Tensor>, None::<tch::Tensor>, eps, false)
}

/// `[B, S, N, head_dim]` of normalised heads to `[B, N, S, head_dim]` of turned ones.
pub(super) fn rotated(normed: &tch::Tensor, angles: [&tch::Tensor; 2]) -> tch::Tensor {
    let normed = normed.transpose(1, 2);
    let output = tch::Tensor::empty(normed.size(), (normed.kind(), normed.device()));
    rotate(&normed, &output, angles);
    output
}

/// From the gradient of what [`rotated`] gives to that of what it takes: back by the same angles.
pub(super) fn turned_back(grad: &tch::Tensor, [cos, sin]: [&tch::Tensor; 2]) -> tch::Tensor {
    let output = tch::Tensor::empty(grad.transpose(1, 2).size(), (grad.kind(), grad.device()));
    rotate(grad, &output.transpose(1, 2), [cos, &sin.neg()]);
    output
}

/// Turns the first half of each head against the second, and writes it to `output`. Both are `[B, N, S, head_dim]`, in any
/// order in memory; cosines and sines `[S, head_dim / 2]`, in f32 as is each product.
fn rotate(input: &tch::Tensor, output: &tch::Tensor, [cos, sin]: [&tch::Tensor; 2]) {
    let half = input.size()[3] / 2;
    let halves = |tensor: &tch::Tensor| [0, half].map(|start| tensor.narrow(3, start, half));
    let ([first, second], [mut to_first, mut to_second]) = (halves(input), halves(output));
    let _ = first.mul_out(&to_first, cos);
    let _ = to_first.addcmul_(&second, &sin.neg());
    let _ = second.mul_out(&to_second, cos);
    let _ = to_second.addcmul_(&first, sin);
}

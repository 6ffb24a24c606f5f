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
    fn fused_modulate(input: TchTensor, scale: TchTensor, shift: TchTensor, split: usize, eps: f64) -> TchTensor {
        match is_host(&input) {
            true => host::modulate(&input, &scale, &shift, split, eps as f32),
            false => TchTensor::new(modulate([&input.tensor, &scale.tensor, &shift.tensor], split, eps)),
        }
    }

    fn fused_gated_add(residual: TchTensor, output: TchTensor, gate: TchTensor, split: usize) -> TchTensor {
        match is_host(&residual) {
            true => host::gated_add(&residual, &output, &gate, split),
            false => TchTensor::new(gated_add(&residual.tensor, [&output.tensor, &gate.tensor], split)),
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

    fn recorded_modulate(inputs: [TchTensor; 3], split: usize, eps: f64) -> (TchTensor, Norm) {
        if is_host(&inputs[0]) {
            let (output, norm) = host::Norm::modulate(inputs, split, eps);
            return (output, Norm::Host(norm));
        }
        let (output, graph) = Graph::record(inputs, |inputs| modulate(inputs, split, eps));
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

    fn gated_add_gradients([output, gate]: [TchTensor; 2], split: usize, grad: TchTensor) -> [TchTensor; 2] {
        if is_host(&output) {
            return host::gated_add_backward(&output, &gate, &grad, split).into();
        }
        gated_add_gradients([&output.tensor, &gate.tensor], split, &grad.tensor).map(TchTensor::new)
    }

    fn silu_gradient(input: TchTensor, grad: TchTensor) -> TchTensor {
        match is_host(&input) {
            true => host::multiply(&input, &grad, simd::silu_slope),
            false => TchTensor::new(input.tensor.silu_backward(&grad.tensor)),
        }
    }
}

/// The tokens of each modulation of `[B, G, D]`, and its number: first token, count, number.
fn groups(modulations: &tch::Tensor, split: usize, tokens: &tch::Tensor) -> Vec<(i64, i64, i64)> {
    let (seq, split) = (tokens.size()[1], split as i64);
    match modulations.size()[1] {
        1 => vec![(0, seq, 0)],
        _ => vec![(0, split, 1), (split, seq - split, 0)],
    }
}

/// `layer_norm(input) * (1 + scale) + shift`: within the norm, which for each sample and modulation takes these as its
/// weight and bias.
pub(super) fn modulate([input, scale, shift]: [&tch::Tensor; 3], split: usize, eps: f64) -> tch::Tensor {
    let (groups, weight, size) = (groups(scale, split, input), scale + 1.0, input.size());
    let (samples, width) = (size[0], size[2]);
    let normed = (0..samples).flat_map(|sample| {
        let (weight, groups) = (&weight, &groups);
        groups.iter().map(move |&(token, count, group)| {
            let [weight, bias] = [weight, shift].map(|rows| rows.get(sample).get(group));
            let tokens = input.get(sample).narrow(0, token, count);
            tokens.layer_norm([width], Some(weight), Some(bias), eps, false)
        })
    });
    let normed: Vec<_> = normed.collect();
    match normed.as_slice() {
        [sample] => sample.unsqueeze(0),
        parts => tch::Tensor::cat(parts, 0).view(size.as_slice()),
    }
}

/// `residual + output * gate`.
pub(super) fn gated_add(residual: &tch::Tensor, [output, gate]: [&tch::Tensor; 2], split: usize) -> tch::Tensor {
    let sum = residual.empty_like();
    for (token, count, group) in groups(gate, split, residual) {
        let part = |tensor: &tch::Tensor| tensor.narrow(1, token, count);
        let _ = part(residual).addcmul_out(&part(&sum), &part(output), &gate.narrow(1, group, 1));
    }
    sum
}

/// Gradients of output and gate of `residual + output * gate`.
pub(super) fn gated_add_gradients(
    [output, gate]: [&tch::Tensor; 2],
    split: usize,
    grad: &tch::Tensor,
) -> [tch::Tensor; 2] {
    let (of_output, of_gate) = (grad.empty_like(), gate.empty_like());
    let product = grad * output;
    for (token, count, group) in groups(gate, split, grad) {
        let part = |tensor: &tch::Tensor| tensor.narrow(1, token, count);
        let gate_row = |tensor: &tch::Tensor| tensor.narrow(1, group, 1);
        let _ = part(grad).multiply_out(&part(&of_output), &gate_row(gate));
        gate_row(&of_gate).copy_(&part(&product).sum_dim_intlist(1, true, grad.kind()));
    }
    [of_output, of_gate]
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

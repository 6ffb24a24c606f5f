//! Convolution and group norm.

use burn::backend::{LibTorch, libtorch::TchTensor};

use super::{graph::Graph, is_slow};
use crate::ops::fused::picture::{PictureOps, RecordedPictureOps};

impl PictureOps for LibTorch {
    fn fused_conv2d(input: TchTensor, weight: TchTensor, bias: TchTensor, stride: usize, padding: usize) -> TchTensor {
        TchTensor::new(conv2d([&input.tensor, &weight.tensor, &bias.tensor], stride, padding))
    }

    fn fused_group_norm(input: TchTensor, weight: TchTensor, bias: TchTensor, groups: usize, eps: f64) -> TchTensor {
        TchTensor::new(group_norm([&input.tensor, &weight.tensor, &bias.tensor], groups, eps))
    }
}

impl RecordedPictureOps for LibTorch {
    type Graph = Graph<3>;

    fn recorded_conv2d(inputs: [TchTensor; 3], stride: usize, padding: usize) -> (TchTensor, Graph<3>) {
        Graph::record(inputs, |inputs| conv2d(inputs, stride, padding))
    }

    fn recorded_group_norm(inputs: [TchTensor; 3], groups: usize, eps: f64) -> (TchTensor, Graph<3>) {
        Graph::record(inputs, |inputs| group_norm(inputs, groups, eps))
    }

    fn gradients(graph: Graph<3>, grad: TchTensor) -> [TchTensor; 3] {
        graph.gradients(&grad.tensor)
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

fn group_norm([input, weight, bias]: [&tch::Tensor; 3], groups: usize, eps: f64) -> tch::Tensor {
    input.group_norm(groups as i64, Some(weight), Some(bias), eps, false)
}

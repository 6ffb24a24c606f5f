//! Convolution and group norm.

use burn::backend::{Flex, flex::FlexTensor};

use crate::ops::{
    GroupNormOptions,
    fused::{
        host::{self, convolution},
        picture::{PictureOps, RecordedPictureOps},
    },
};

impl PictureOps for Flex {
    fn fused_conv2d(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        stride: usize,
        padding: usize,
    ) -> FlexTensor {
        convolution::conv2d(&input, &weight, &bias, stride, padding)
    }

    fn fused_group_norm(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        options: GroupNormOptions,
    ) -> FlexTensor {
        host::group_norm([&input, &weight, &bias], options)
    }
}

impl RecordedPictureOps for Flex {
    type Graph = host::Picture<FlexTensor>;

    fn recorded_conv2d(inputs: [FlexTensor; 3], stride: usize, padding: usize) -> (FlexTensor, Self::Graph) {
        host::Picture::conv2d(inputs, stride, padding)
    }

    fn recorded_group_norm(inputs: [FlexTensor; 3], options: GroupNormOptions) -> (FlexTensor, Self::Graph) {
        host::Picture::group_norm(inputs, options)
    }

    fn gradients(graph: Self::Graph, grad: FlexTensor) -> [FlexTensor; 3] {
        graph.gradients(&grad)
    }
}

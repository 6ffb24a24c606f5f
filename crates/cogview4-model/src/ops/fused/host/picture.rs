//! What convolution and group norm leave behind for their backwards.

use super::{HostTensor, convolution, group_norm, group_norm_backward};
use crate::ops::GroupNormOptions;

/// A recorded operation on pictures.
#[derive(Debug, Clone)]
pub(in crate::ops::fused) enum Picture<H> {
    /// Input and weight of a convolution.
    Conv2d([H; 2]),
    /// Input, weight and bias of a norm.
    GroupNorm([H; 3], GroupNormOptions),
}

impl<H: HostTensor + Clone> Picture<H> {
    /// Output of a convolution whose backward is served, and what its backward reads.
    pub(in crate::ops::fused) fn conv2d([input, weight, bias]: [H; 3], stride: usize, padding: usize) -> (H, Self) {
        (convolution::conv2d(&input, &weight, &bias, stride, padding), Self::Conv2d([input, weight]))
    }

    /// Output of a group norm, and what its backward reads.
    pub(in crate::ops::fused) fn group_norm(inputs: [H; 3], options: GroupNormOptions) -> (H, Self) {
        (group_norm(inputs.each_ref(), options), Self::GroupNorm(inputs, options))
    }

    /// Gradients of input, weight and bias.
    pub(in crate::ops::fused) fn gradients(self, grad: &H) -> [H; 3] {
        match self {
            Self::Conv2d([input, weight]) => convolution::conv2d_backward(&input, &weight, grad),
            Self::GroupNorm(inputs, options) => group_norm_backward(inputs.each_ref(), grad, options),
        }
    }
}

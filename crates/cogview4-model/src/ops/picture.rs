//! Operations on pictures, `[B, C, H, W]`.

use burn::tensor::{DType, Tensor, module, ops::ConvOptions};

use super::fused;

/// A convolution with zeros around the picture: `(before, after)` in each direction.
///
/// # Shapes
/// `input` `[B, in, H, W]`, `weight` `[out, in, kernel, kernel]`, `bias` `[out]`.
pub fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: (usize, usize),
) -> Tensor<4> {
    if let Some(output) = fused::conv2d(&input, &weight, &bias, stride, padding) {
        return output;
    }
    let options = ConvOptions { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2], groups: 1 };
    module::conv2d(input, weight, Some(bias), options)
}

/// What a group norm is beside its weight and bias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormOptions {
    /// Groups, which have as many channels each.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether SiLU is applied to what is normalised.
    pub silu: bool,
}

/// Normalises each group of channels over its channels, height and width in f32, then scales and shifts each channel,
/// and may apply SiLU.
///
/// # Shapes
/// `input` `[B, C, H, W]`, unchanged; `weight` and `bias` `[C]`.
pub fn group_norm(input: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, options: GroupNormOptions) -> Tensor<4> {
    if let Some(output) = fused::group_norm(&input, &weight, &bias, options) {
        return output;
    }
    let GroupNormOptions { groups, eps, silu } = options;
    let [batch, channels, height, width] = input.dims();
    let (dtype, channels_per_group) = (input.dtype(), channels / groups);
    let grouped = input.cast(DType::F32).reshape([batch, groups, channels_per_group * height * width]);
    let mean = grouped.clone().mean_dim(2);
    let centered = grouped - mean;
    let variance = centered.clone().square().mean_dim(2);
    // One multiplication and one addition a value: the norm's scale and the channel's are joined first.
    let inverse_std = (variance + eps).sqrt().recip();
    let weight = weight.cast(DType::F32).reshape([1, groups, channels_per_group]);
    let scale = (inverse_std * weight).reshape([batch, channels, 1]);
    let bias = bias.cast(DType::F32).reshape([1, channels, 1]);
    let normed = centered.reshape([batch, channels, height * width]) * scale + bias;
    let normed = normed.reshape([batch, channels, height, width]).cast(dtype);
    if silu { super::silu(normed) } else { normed }
}

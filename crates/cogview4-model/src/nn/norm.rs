//! `torch.nn.GroupNorm` and the RMS norm of GLM. Both reduce in f32.

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor},
};

use super::lazy_constant;

/// `torch.nn.GroupNorm`: each group of channels is normalised over its channels, height and width.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[C]`.
    pub weight: Param<Tensor<1>>,
    /// `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    eps: f64,
}

impl GroupNorm {
    /// A norm over `groups` groups of `channels` channels.
    pub fn init(groups: usize, channels: usize, eps: f64, device: &Device) -> Self {
        Self {
            weight: lazy_constant([channels], 1.0, device),
            bias: lazy_constant([channels], 0.0, device),
            groups,
            eps,
        }
    }

    /// # Shapes
    /// `[B, C, H, W]`, unchanged.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = input.dims();
        let (dtype, channels_per_group) = (input.dtype(), channels / self.groups);
        let grouped = input.cast(DType::F32).reshape([batch, self.groups, channels_per_group * height * width]);
        let mean = grouped.clone().mean_dim(2);
        let centered = grouped - mean;
        let variance = centered.clone().square().mean_dim(2);
        // One multiplication and one addition a value: the norm's scale and the channel's are joined first.
        let inverse_std = (variance + self.eps).sqrt().recip();
        let weight = self.weight.val().cast(DType::F32).reshape([1, self.groups, channels_per_group]);
        let scale = (inverse_std * weight).reshape([batch, channels, 1]);
        let bias = self.bias.val().cast(DType::F32).reshape([1, channels, 1]);
        let normed = centered.reshape([batch, channels, height * width]) * scale + bias;
        normed.reshape([batch, channels, height, width]).cast(dtype)
    }
}

/// `x / rms(x) * weight` over the last axis.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[D]`.
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl RmsNorm {
    /// A norm over `width` features.
    pub fn init(width: usize, eps: f64, device: &Device) -> Self {
        Self { weight: lazy_constant([width], 1.0, device), eps }
    }

    /// # Shapes
    /// `[B, S, D]`, unchanged.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let dtype = input.dtype();
        let input = input.cast(DType::F32);
        let mean_square = input.clone().square().mean_dim(2);
        let normed = input * (mean_square + self.eps).sqrt().recip();
        normed.cast(dtype) * self.weight.val().unsqueeze()
    }
}

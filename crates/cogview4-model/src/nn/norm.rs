//! `torch.nn.GroupNorm` and the RMS norm of GLM. Both reduce in f32.

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor},
};

use super::lazy_constant;
use crate::ops::{self, GroupNormOptions};

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
        self.normalise(input, false)
    }

    /// With SiLU behind it.
    ///
    /// # Shapes
    /// `[B, C, H, W]`, unchanged.
    pub fn forward_silu(&self, input: Tensor<4>) -> Tensor<4> {
        self.normalise(input, true)
    }

    fn normalise(&self, input: Tensor<4>, silu: bool) -> Tensor<4> {
        let options = GroupNormOptions { groups: self.groups, eps: self.eps, silu };
        ops::group_norm(input, self.weight.val(), self.bias.val(), options)
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

//! What encoder and decoder are made of: residual blocks, attention of the middle block, change of size.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::AutoencoderKlConfig;
use crate::{
    nn::{Conv2d, GroupNorm, Linear},
    ops::{self, AttentionMask},
};

/// Epsilon of all norms of the VAE.
pub(super) const NORM_EPS: f64 = 1e-6;

/// Two convolutions beside a shortcut.
#[derive(Module, Debug)]
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// 1x1, where the number of channels changes.
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    pub(super) fn init(input: usize, output: usize, groups: usize, device: &Device) -> Self {
        Self {
            norm1: GroupNorm::init(groups, input, NORM_EPS, device),
            conv1: Conv2d::init(input, output, 3, device),
            norm2: GroupNorm::init(groups, output, NORM_EPS, device),
            conv2: Conv2d::init(output, output, 3, device),
            conv_shortcut: (input != output).then(|| Conv2d::init(input, output, 1, device)),
        }
    }

    /// `[B, in, H, W]` to `[B, out, H, W]`.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let hidden = self.conv1.forward(self.norm1.forward_silu(input.clone()));
        let hidden = self.conv2.forward(self.norm2.forward_silu(hidden));
        let shortcut = match &self.conv_shortcut {
            Some(conv) => conv.forward(input),
            None => input,
        };
        shortcut + hidden
    }
}

/// Single-head attention between all pixels.
#[derive(Module, Debug)]
struct AttentionBlock {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: [Linear; 1],
}

impl AttentionBlock {
    fn init(channels: usize, groups: usize, device: &Device) -> Self {
        let linear = || Linear::init(channels, channels, device);
        Self {
            group_norm: GroupNorm::init(groups, channels, NORM_EPS, device),
            to_q: linear(),
            to_k: linear(),
            to_v: linear(),
            to_out: [linear()],
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = input.dims();
        let pixels = height * width;
        let tokens = self.group_norm.forward(input.clone()).reshape([batch, channels, pixels]).swap_dims(1, 2);
        let project = |linear: &Linear| linear.forward(tokens.clone()).reshape([batch, 1, pixels, channels]);
        let (query, key, value) = (project(&self.to_q), project(&self.to_k), project(&self.to_v));
        let output = ops::attention(query, key, value, &AttentionMask::None).reshape([batch, pixels, channels]);
        let output = self.to_out[0].forward(output).swap_dims(1, 2);
        input + output.reshape([batch, channels, height, width])
    }
}

/// The block between the levels and the latents.
#[derive(Module, Debug)]
pub(super) struct MidBlock {
    attentions: Vec<AttentionBlock>,
    resnets: Vec<ResnetBlock>,
}

impl MidBlock {
    pub(super) fn init(config: &AutoencoderKlConfig, channels: usize, device: &Device) -> Self {
        let groups = config.norm_num_groups;
        let attention = config.mid_block_add_attention.then(|| AttentionBlock::init(channels, groups, device));
        Self {
            attentions: attention.into_iter().collect(),
            resnets: (0..2).map(|_| ResnetBlock::init(channels, channels, groups, device)).collect(),
        }
    }

    pub(super) fn forward(&self, hidden: Tensor<4>) -> Tensor<4> {
        let hidden = self.resnets[0].forward(hidden);
        let hidden = self.attentions.iter().fold(hidden, |hidden, attention| attention.forward(hidden));
        self.resnets[1].forward(hidden)
    }
}

/// The convolution of a change of size.
#[derive(Module, Debug)]
pub(super) struct Resample {
    pub(super) conv: Conv2d,
}

impl Resample {
    pub(super) fn init(channels: usize, device: &Device) -> Self {
        Self { conv: Conv2d::init(channels, channels, 3, device) }
    }

    /// Doubles the size: each pixel four times, then the convolution.
    pub(super) fn up(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = input.dims();
        let doubled = input
            .reshape([batch, channels, height, 1, width, 1])
            .expand([batch, channels, height, 2, width, 2])
            .reshape([batch, channels, 2 * height, 2 * width]);
        self.conv.forward(doubled)
    }

    /// Halves the size.
    pub(super) fn down(&self, input: Tensor<4>) -> Tensor<4> {
        self.conv.forward_halving(input)
    }
}

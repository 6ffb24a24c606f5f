//! Latents to pictures. Keys: `decoder.{conv_in,mid_block,up_blocks,conv_norm_out,conv_out}`.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{
    AutoencoderKlConfig,
    blocks::{MidBlock, NORM_EPS, Resample, ResnetBlock},
};
use crate::nn::{Conv2d, GroupNorm};

#[derive(Module, Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    /// Empty at the last level.
    upsamplers: Vec<Resample>,
}

impl Decoder {
    pub(super) fn init(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let groups = config.norm_num_groups;
        let widths: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let up_block = |level: usize| {
            let (input, output) = (widths[level.saturating_sub(1)], widths[level]);
            let resnet = |layer| ResnetBlock::init(if layer == 0 { input } else { output }, output, groups, device);
            UpBlock {
                resnets: (0..=config.layers_per_block).map(resnet).collect(),
                upsamplers: (level + 1 < widths.len()).then(|| Resample::init(output, device)).into_iter().collect(),
            }
        };
        Self {
            conv_in: Conv2d::init(config.latent_channels, first, 3, device),
            mid_block: MidBlock::init(config, first, device),
            up_blocks: (0..widths.len()).map(up_block).collect(),
            conv_norm_out: GroupNorm::init(groups, last, NORM_EPS, device),
            conv_out: Conv2d::init(last, config.out_channels, 3, device),
        }
    }

    /// `[B, latent_channels, H, W]` to `[B, out_channels, s H, s W]`.
    pub(super) fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let mut hidden = self.mid_block.forward(self.conv_in.forward(latents));
        for block in &self.up_blocks {
            hidden = block.resnets.iter().fold(hidden, |hidden, resnet| resnet.forward(hidden));
            hidden = block.upsamplers.iter().fold(hidden, |hidden, sampler| sampler.up(hidden));
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(hidden))
    }
}

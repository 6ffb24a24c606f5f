//! Pictures to the moments of the latents. Keys: `encoder.{conv_in,down_blocks,mid_block,conv_norm_out,conv_out}`.

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
pub(super) struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    /// Empty at the last level.
    downsamplers: Vec<Resample>,
}

impl Encoder {
    pub(super) fn init(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let (widths, groups) = (&config.block_out_channels, config.norm_num_groups);
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let down_block = |level: usize| {
            let (input, output) = (widths[level.saturating_sub(1)], widths[level]);
            let resnet = |layer| ResnetBlock::init(if layer == 0 { input } else { output }, output, groups, device);
            DownBlock {
                resnets: (0..config.layers_per_block).map(resnet).collect(),
                downsamplers: (level + 1 < widths.len()).then(|| Resample::init(output, device)).into_iter().collect(),
            }
        };
        Self {
            conv_in: Conv2d::init(config.in_channels, first, 3, device),
            down_blocks: (0..widths.len()).map(down_block).collect(),
            mid_block: MidBlock::init(config, last, device),
            conv_norm_out: GroupNorm::init(groups, last, NORM_EPS, device),
            conv_out: Conv2d::init(last, 2 * config.latent_channels, 3, device),
        }
    }

    /// `[B, in_channels, H, W]` to `[B, 2 * latent_channels, H / s, W / s]`.
    pub(super) fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        let mut hidden = self.conv_in.forward(pixels);
        for block in &self.down_blocks {
            hidden = block.resnets.iter().fold(hidden, |hidden, resnet| resnet.forward(hidden));
            hidden = block.downsamplers.iter().fold(hidden, |hidden, sampler| sampler.down(hidden));
        }
        let hidden = self.mid_block.forward(hidden);
        self.conv_out.forward(self.conv_norm_out.forward_silu(hidden))
    }
}

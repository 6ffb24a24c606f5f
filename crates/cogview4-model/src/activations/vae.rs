//! What the autoencoder holds: see `vae::blocks`, `vae::encoder` and `vae::decoder`.

use super::{
    ActivationSettings, Cost,
    ops::{self, Conv, F32, pixels},
};
use crate::{AutoencoderKlConfig, memory::kept_bytes};

impl AutoencoderKlConfig {
    /// One picture of this height and width, in pixels, to latents, weights not counted. With tiles of a side, none is
    /// larger.
    pub fn encode_activations(&self, size: [usize; 2], tile: Option<usize>, settings: ActivationSettings) -> Cost {
        self.tiled(size, tile, |size| {
            let widths = &self.block_out_channels;
            let mut walk = Walk::new(settings, self.in_channels, size);
            walk.conv(widths[0], 3);
            for (level, &channels) in widths.iter().enumerate() {
                (0..self.layers_per_block).for_each(|_| walk.resnet(channels));
                if level + 1 < widths.len() {
                    walk.halve();
                }
            }
            walk.middle(self);
            walk.head(2 * self.latent_channels);
            walk.cost
        })
    }

    /// Bytes that stay with the C library when a picture was encoded, beside what the next one holds.
    pub fn kept_of_encoding(&self, [height, width]: [usize; 2], settings: ActivationSettings) -> u64 {
        let values = |(level, channels): (usize, &usize)| ((channels * height * width) >> (2 * level)) as u64;
        kept_bytes(self.block_out_channels.iter().enumerate().map(values).map(|values| settings.size() * values))
    }

    /// Latents of one picture of this height and width, in pixels, to pixels, weights not counted. With tiles of a
    /// side, none is larger.
    pub fn decode_activations(&self, size: [usize; 2], tile: Option<usize>, settings: ActivationSettings) -> Cost {
        let scale = self.scale_factor();
        self.tiled(size, tile, |size| {
            let widths = &self.block_out_channels;
            let mut walk = Walk::new(settings, self.latent_channels, size.map(|own| own / scale));
            walk.conv(widths[widths.len() - 1], 3);
            walk.middle(self);
            for (level, &channels) in widths.iter().enumerate().rev() {
                (0..=self.layers_per_block).for_each(|_| walk.resnet(channels));
                if level > 0 {
                    walk.double();
                }
            }
            walk.head(self.out_channels);
            walk.cost
        })
    }

    /// The cost of the largest tile, as often as there are tiles; tiles and rows of them are kept beside.
    fn tiled(&self, size: [usize; 2], tile: Option<usize>, cost: impl Fn([usize; 2]) -> Cost) -> Cost {
        let Some(side) = tile.filter(|&side| size.iter().any(|&own| own > side)) else { return cost(size) };
        let largest = size.map(|own| own.min(side));
        // A quarter of a tile is its neighbour's too.
        let count = size.map(|own| own.div_ceil((side * 3 / 4).max(1)));
        let of_one = cost(largest);
        let pictures = 3 * (size[0] * size[1] * self.out_channels) as u64 * F32;
        Cost { bytes: of_one.bytes + pictures, flops: of_one.flops * (count[0] * count[1]) as f64 }
    }
}

/// A picture on its way through the layers.
struct Walk {
    settings: ActivationSettings,
    channels: u64,
    /// Height and width.
    size: [usize; 2],
    cost: Cost,
}

impl Walk {
    fn new(settings: ActivationSettings, channels: usize, size: [usize; 2]) -> Self {
        Self { settings, channels: channels as u64, size, cost: Cost::default() }
    }

    fn values(&self) -> u64 {
        self.channels * pixels(self.size)
    }

    /// Notes what is held at a moment.
    fn holds(&mut self, bytes: u64) {
        self.cost.bytes = self.cost.bytes.max(bytes);
    }

    /// A convolution of the whole picture beside so many bytes.
    fn conv_beside(&mut self, kept: u64, channels: [u64; 2], kernel: u64, stride: u64) {
        let Cost { bytes, flops } = Conv { channels, size: self.size, kernel, stride }.cost(self.settings);
        self.holds(kept + bytes);
        self.cost.flops += flops;
    }

    fn conv(&mut self, channels: usize, kernel: u64) {
        let channels = channels as u64;
        self.conv_beside(0, [self.channels, channels], kernel, 1);
        self.channels = channels;
    }

    fn resnet(&mut self, channels: usize) {
        let (from, to, pixels) = (self.channels, channels as u64, pixels(self.size));
        let (input, output) = (from * pixels, to * pixels);
        let size = self.settings.size();
        let kept = size * input;
        self.holds(ops::norm_silu(self.settings, input));
        self.conv_beside(kept, [from, to], 3, 1);
        self.holds(kept + ops::norm_silu(self.settings, output));
        self.conv_beside(kept, [to; 2], 3, 1);
        if from != to {
            self.conv_beside(size * output, [from, to], 1, 1);
        }
        self.channels = to;
    }

    /// A convolution of every second pixel, of a picture with zeros beside it.
    fn halve(&mut self) {
        self.holds(2 * self.settings.size() * self.values());
        self.conv_beside(0, [self.channels; 2], 3, 2);
        self.size = self.size.map(|own| own / 2);
    }

    fn double(&mut self) {
        let size = self.settings.size();
        self.holds(5 * size * self.values());
        self.size = self.size.map(|own| 2 * own);
        self.conv_beside(0, [self.channels; 2], 3, 1);
    }

    fn middle(&mut self, config: &AutoencoderKlConfig) {
        let channels = self.channels as usize;
        self.resnet(channels);
        if config.mid_block_add_attention {
            let (values, size) = (self.values(), self.settings.size());
            // The picture, its tokens, query, key and value; then the attention's own.
            self.holds(5 * size * values);
            self.holds(2 * size * values + ops::attention(self.settings, [values; 2], pixels(self.size)));
            let (pixels, width) = (pixels(self.size) as f64, self.channels as f64);
            self.cost.flops += 8.0 * pixels * width * width + 4.0 * pixels * pixels * width;
        }
        self.resnet(channels);
    }

    fn head(&mut self, channels: usize) {
        self.holds(ops::norm_silu(self.settings, self.values()));
        self.conv(channels, 3);
    }
}

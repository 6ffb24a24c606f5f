//! `torch.nn.Conv2d` with square kernels.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use super::{fan_in_uniform, lazy_param};
use crate::ops;

/// A convolution that keeps the size (odd kernel, zeros around), or halves it.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
}

impl Conv2d {
    /// A convolution from `input` to `output` channels.
    pub fn init(input: usize, output: usize, kernel: usize, device: &Device) -> Self {
        let fan_in = fan_in_uniform(input * kernel * kernel);
        Self {
            weight: lazy_param([output, input, kernel, kernel], fan_in, device),
            bias: lazy_param([output], fan_in, device),
        }
    }

    /// Same height and width.
    ///
    /// # Shapes
    /// `[B, in, H, W]` to `[B, out, H, W]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [.., kernel] = self.weight.dims();
        let padding = (kernel / 2, kernel / 2);
        self.convolve(input, 1, padding)
    }

    /// Half the height and width: every second pixel, with zeros added right and below only.
    ///
    /// # Shapes
    /// `[B, in, H, W]` to `[B, out, H / 2, W / 2]`.
    pub fn forward_halving(&self, input: Tensor<4>) -> Tensor<4> {
        self.convolve(input, 2, (0, 1))
    }

    fn convolve(&self, input: Tensor<4>, stride: usize, padding: (usize, usize)) -> Tensor<4> {
        ops::conv2d(input, self.weight.val(), self.bias.val(), stride, padding)
    }
}

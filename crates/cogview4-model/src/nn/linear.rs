//! `torch.nn.Linear`.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use super::{fan_in_uniform, lazy_param};
use crate::ops::{self, QuantizedMatrix};

/// `x W^T + b`, with the weight in PyTorch's order, so that nothing is transposed on load.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Taken instead of `weight`, which is not there then: a frozen weight in 8 bits.
    #[module(skip)]
    pub quantized: Option<QuantizedMatrix>,
}

impl Linear {
    /// A layer from `input` to `output` features, with bias.
    pub fn init(input: usize, output: usize, device: &Device) -> Self {
        Self {
            bias: Some(lazy_param([output], fan_in_uniform(input), device)),
            ..Self::init_no_bias(input, output, device)
        }
    }

    /// A layer from `input` to `output` features, without bias.
    pub fn init_no_bias(input: usize, output: usize, device: &Device) -> Self {
        Self { weight: lazy_param([output, input], fan_in_uniform(input), device), bias: None, quantized: None }
    }

    /// # Shapes
    /// `[..., in]` to `[..., out]`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        match &self.quantized {
            Some(weight) => ops::quantized_linear(input, weight, bias),
            None => ops::linear(input, self.weight.val(), bias),
        }
    }
}

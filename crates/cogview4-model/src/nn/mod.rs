//! Layers as PyTorch stores them: field names and shapes of the parameters are those of the checkpoint.
//!
//! `init` allocates nothing: parameters are made on first use, or by [`load_module`](crate::weights::load_module).

mod conv;
mod linear;
mod norm;

pub use conv::Conv2d;
pub use linear::Linear;
pub use norm::{GroupNorm, RmsNorm};

use burn::{
    module::{Param, ParamId},
    tensor::{Device, Distribution, Shape, Tensor},
};

/// A trainable parameter that is drawn on first use, unless it is loaded before.
pub(crate) fn lazy_param<const D: usize>(
    shape: [usize; D],
    distribution: Distribution,
    device: &Device,
) -> Param<Tensor<D>> {
    let draw = move |device: &Device, require_grad: bool| {
        Tensor::random(shape, distribution, device).set_require_grad(require_grad)
    };
    Param::uninitialized(ParamId::new(), draw, device.clone(), true, Shape::from(shape))
}

/// A trainable parameter of one value, unless it is loaded before.
pub(crate) fn lazy_constant<const D: usize>(shape: [usize; D], value: f32, device: &Device) -> Param<Tensor<D>> {
    let fill =
        move |device: &Device, require_grad: bool| Tensor::full(shape, value, device).set_require_grad(require_grad);
    Param::uninitialized(ParamId::new(), fill, device.clone(), true, Shape::from(shape))
}

/// PyTorch's default for linear and convolution layers: uniform within one over the root of the inputs of a unit.
pub(crate) fn fan_in_uniform(fan_in: usize) -> Distribution {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Distribution::Uniform(-bound, bound)
}

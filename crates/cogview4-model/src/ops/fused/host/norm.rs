//! Norms that are recorded: what their backwards read is their inputs, from which they compute the norm again.

use super::{
    HostTensor,
    backward::{modulate_backward, norm_rotate_backward},
    modulate, norm_rotate,
};

/// The inputs of a norm, and its epsilon.
#[derive(Debug, Clone)]
pub(in crate::ops::fused) struct Norm<H> {
    inputs: [H; 3],
    /// See [`modulate`].
    split: usize,
    eps: f32,
}

impl<H: HostTensor> Norm<H> {
    /// Of input, scale and shift.
    pub(in crate::ops::fused) fn modulate(inputs: [H; 3], split: usize, eps: f64) -> (H, Self) {
        let norm = Self { inputs, split, eps: eps as f32 };
        let [input, scale, shift] = &norm.inputs;
        (modulate(input, scale, shift, split, norm.eps), norm)
    }

    pub(in crate::ops::fused) fn modulate_gradients(self, grad: &H) -> [H; 3] {
        let [input, scale, _] = &self.inputs;
        modulate_backward(input, scale, grad, self.split, self.eps).into()
    }

    /// Of input, cosines and sines.
    pub(in crate::ops::fused) fn norm_rotate(inputs: [H; 3], eps: f64) -> (H, Self) {
        let norm = Self { inputs, split: 0, eps: eps as f32 };
        let [input, cos, sin] = &norm.inputs;
        (norm_rotate(input, cos, sin, norm.eps), norm)
    }

    pub(in crate::ops::fused) fn norm_rotate_gradient(self, grad: &H) -> H {
        let [input, cos, sin] = &self.inputs;
        norm_rotate_backward(input, cos, sin, grad, self.eps)
    }
}

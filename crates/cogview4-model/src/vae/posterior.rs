//! The distribution that the encoder gives for the latents of a picture.

use burn::tensor::{DType, Tensor};

/// A normal distribution with independent values.
#[derive(Debug, Clone)]
pub struct DiagonalGaussian {
    /// `[B, latent_channels, H, W]`.
    pub mean: Tensor<4>,
    /// Logarithm of the variance, in [-30, 20], same shape.
    pub logvar: Tensor<4>,
}

impl DiagonalGaussian {
    /// Parts the encoder's output, `[B, 2 * latent_channels, H, W]`: mean first. The result is f32.
    pub(super) fn from_moments(moments: Tensor<4>) -> Self {
        let moments = moments.cast(DType::F32);
        let channels = moments.dims()[1] / 2;
        Self {
            mean: moments.clone().narrow(1, 0, channels),
            logvar: moments.narrow(1, channels, channels).clamp(-30.0, 20.0),
        }
    }

    /// The most likely latents.
    pub fn mode(&self) -> Tensor<4> {
        self.mean.clone()
    }

    /// Latents drawn with the given standard normal noise of the same shape.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.logvar.clone() * 0.5).exp() * noise
    }

    /// The divergence of each latent value from the standard normal distribution, in nats, same shape.
    pub fn kl(&self) -> Tensor<4> {
        (self.mean.clone().square() + self.logvar.clone().exp() - self.logvar.clone() - 1.0) * 0.5
    }
}

//! What a run gives back.

use burn::tensor::Tensor;
use image::RgbImage;

/// What comes back beside the final latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputType {
    /// Pictures.
    #[default]
    Image,
    /// Pixels, `[B, 3, H, W]` f32 in [0, 1].
    Tensor,
    /// Latents only; nothing is decoded.
    Latent,
}

/// What a request gives; the pictures of a prompt stand together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CogView4PipelineOutput {
    /// The pictures, for [`OutputType::Image`].
    pub images: Vec<RgbImage>,
    /// The pixels, for [`OutputType::Tensor`].
    pub pixels: Option<Tensor<4>>,
    /// The final latents before decoding, `[B, C, H / s, W / s]` f32.
    pub latents: Tensor<4>,
}

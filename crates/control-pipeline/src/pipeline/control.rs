//! Control images: pictures, or tensors that are treated as pictures.

use std::str::FromStr;

use burn::tensor::{DType, Device, Tensor};
use image::RgbImage;

use super::InputChannels;
use crate::{
    error::{PipelineError, Result},
    image::VaeImageProcessor,
};

/// What a picture follows. Made by `into` from a picture, a list of pictures, or a tensor.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "a request holds one")]
pub enum ControlImage {
    /// One picture for all prompts, or one for each; any size.
    Images(Vec<RgbImage>),
    /// `[B, 3, H, W]` in [0, 1], or in [-1, 1] where a value is below 0; `B` is 1 or the number of prompts. It is
    /// resized as a picture is, by way of bytes, where the size is not that of the result.
    Tensor(Tensor<4>),
}

impl From<RgbImage> for ControlImage {
    fn from(image: RgbImage) -> Self {
        Self::Images(vec![image])
    }
}

impl From<Vec<RgbImage>> for ControlImage {
    fn from(images: Vec<RgbImage>) -> Self {
        Self::Images(images)
    }
}

impl From<Tensor<4>> for ControlImage {
    fn from(pixels: Tensor<4>) -> Self {
        Self::Tensor(pixels)
    }
}

/// How the control latents follow from what the VAE gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ControlLatents {
    /// The mean of the posterior: the same for every seed.
    #[default]
    Mode,
    /// A draw from the posterior, with the request's seed.
    Sample,
}

/// A name that is not one of [`ControlLatents`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("possible values are `mode` and `sample`")]
pub struct ParseControlLatentsError;

impl FromStr for ControlLatents {
    type Err = ParseControlLatentsError;

    fn from_str(name: &str) -> Result<Self, ParseControlLatentsError> {
        match name {
            "mode" => Ok(Self::Mode),
            "sample" => Ok(Self::Sample),
            _ => Err(ParseControlLatentsError),
        }
    }
}

/// What a pipeline takes beside text: [`Control`], or `()` for nothing.
pub trait Conditioning {
    /// Whether the transformer takes control latents beside the noisy ones.
    const HAS_CONTROL: bool;

    /// The control.
    fn control(&self) -> Option<&Control>;
}

/// What the transformer of a pipeline with this conditioning takes.
pub(super) fn input_channels<C: Conditioning>() -> InputChannels {
    if C::HAS_CONTROL { InputChannels::Control } else { InputChannels::Base }
}

impl Conditioning for () {
    const HAS_CONTROL: bool = false;

    fn control(&self) -> Option<&Control> {
        None
    }
}

impl Conditioning for Control {
    const HAS_CONTROL: bool = true;

    fn control(&self) -> Option<&Control> {
        Some(self)
    }
}

/// A control image and how it is used.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) image: ControlImage,
    pub(super) latents: ControlLatents,
}

impl Control {
    /// Checks what can be checked without the models.
    pub(super) fn check(&self, prompts: usize) -> Result<()> {
        let fail = |reason: String| Err(PipelineError::bad_input("control_image", reason));
        let count = match &self.image {
            ControlImage::Images(images) => {
                if images.iter().any(|image| image.width() == 0 || image.height() == 0) {
                    return fail("has no pixels".into());
                }
                images.len()
            }
            ControlImage::Tensor(pixels) => {
                let [batch, channels, height, width] = pixels.dims();
                if channels != 3 || height == 0 || width == 0 {
                    return fail(format!("shape {:?}, but [B, 3, H, W] is needed", pixels.dims()));
                }
                let [least, most] = range(pixels);
                if !(-1.0..=1.0).contains(&least) || !(-1.0..=1.0).contains(&most) {
                    return fail(format!("values from {least} to {most}, but [0, 1] or [-1, 1] is needed"));
                }
                batch
            }
        };
        if count != 1 && count != prompts {
            return fail(format!("{count} control images for {prompts} prompts, one or as many are needed"));
        }
        Ok(())
    }

    /// Pixels for the VAE, one tensor `[1, 3, height, width]` in [-1, 1] per control image.
    pub(super) fn pixels(&self, [height, width]: [usize; 2], dtype: DType, device: &Device) -> Vec<Tensor<4>> {
        let preprocess = |image: &RgbImage| VaeImageProcessor.preprocess(image, height, width, dtype, device);
        match &self.image {
            ControlImage::Images(images) => images.iter().map(preprocess).collect(),
            ControlImage::Tensor(pixels) => {
                let pixels = pixels.clone().to_device(device).cast(DType::F32);
                let normalized = if range(&pixels)[0] < 0.0 { pixels } else { pixels * 2.0 - 1.0 };
                if normalized.dims()[2..] != [height, width] {
                    return VaeImageProcessor.postprocess(normalized).iter().map(preprocess).collect();
                }
                normalized.split(1, 0).into_iter().map(|pixels| pixels.cast(dtype)).collect()
            }
        }
    }
}

/// Least and largest value; both are not a number where one value is not.
fn range(pixels: &Tensor<4>) -> [f32; 2] {
    let values: Vec<f32> =
        pixels.clone().cast(DType::F32).into_data().try_into_vec().expect("invariant: cast to f32 above");
    values.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[least, most], &value| {
        if value.is_nan() { [f32::NAN; 2] } else { [value.min(least), value.max(most)] }
    })
}

//! How a picture of a data set becomes a tensor. Source: `examples/cogview4-control/train_control_cogview4.py` of
//! diffusers, which resizes with torchvision over Pillow.

use burn::tensor::{DType, Device, Tensor, TensorData};
use cogview4_control_pipeline::{Filter, resize};
use cogview4_model::transformer::SizeConditions;
use image::RgbImage;

/// Resizes to a square, whatever the shape of the picture, with Pillow's bilinear filter, and maps bytes to [-1, 1].
///
/// ```
/// use burn::tensor::Device;
/// use cogview4_data::ImageTransform;
///
/// let pixels = ImageTransform { resolution: 32 }.apply(&image::RgbImage::new(50, 40), &Device::flex());
/// assert_eq!(pixels.dims(), [1, 3, 32, 32]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageTransform {
    /// Side of the square in pixels.
    pub resolution: u32,
}

impl ImageTransform {
    /// # Shapes
    /// `[1, 3, resolution, resolution]`, f32.
    ///
    /// # Panics
    /// When the resolution is 0.
    pub fn apply(&self, image: &RgbImage, device: &Device) -> Tensor<4> {
        let side = self.resolution;
        let image = resize(image, side, side, Filter::Bilinear);
        let values: Vec<f32> = image.as_raw().iter().map(|&byte| (f32::from(byte) / 255.0 - 0.5) / 0.5).collect();
        let pixels = TensorData::new(values, [1, side as usize, side as usize, 3]);
        Tensor::<4>::from_data(pixels, (device, DType::F32)).permute([0, 3, 1, 2])
    }

    /// What the model is told about the size of a picture that went through [`apply`](Self::apply): as in the reference
    /// it is the square, whatever the picture was before.
    pub fn size_conditions(&self) -> SizeConditions {
        let side = self.resolution as usize;
        SizeConditions::uncropped(side, side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_span_minus_one_to_one_and_channels_come_first() {
        let image = RgbImage::from_fn(4, 2, |x, _| image::Rgb([0, 255, if x < 2 { 0 } else { 255 }]));
        let pixels = ImageTransform { resolution: 2 }.apply(&image, &Device::flex());
        assert_eq!(pixels.dims(), [1, 3, 2, 2]);
        let values: Vec<f32> = pixels.into_data().try_to_vec().unwrap();
        assert_eq!(values[..8], [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0]);
        assert!(values[8] < -0.7 && values[9] > 0.7);
    }
}

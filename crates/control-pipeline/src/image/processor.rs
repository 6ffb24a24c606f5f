//! `VaeImageProcessor` of diffusers: pictures to tensors in [-1, 1] and back.

use ::image::RgbImage;
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::{Filter, resize};

/// Resizes and normalises pictures for the VAE, and makes pictures of what it decodes.
///
/// ```
/// use burn::tensor::{DType, Device};
/// use cogview4_control_pipeline::VaeImageProcessor;
///
/// let image = image::RgbImage::from_pixel(64, 48, image::Rgb([255, 0, 51]));
/// let pixels = VaeImageProcessor.preprocess(&image, 48, 64, DType::F32, &Device::flex());
/// assert_eq!(pixels.dims(), [1, 3, 48, 64]);
/// assert_eq!(VaeImageProcessor.postprocess(pixels)[0], image);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VaeImageProcessor;

impl VaeImageProcessor {
    /// Resizes with Pillow's Lanczos filter and maps bytes to [-1, 1].
    ///
    /// # Shapes
    /// `[1, 3, height, width]`.
    pub fn preprocess(
        &self,
        image: &RgbImage,
        height: usize,
        width: usize,
        dtype: DType,
        device: &Device,
    ) -> Tensor<4> {
        let image = resize(image, width as u32, height as u32, Filter::Lanczos);
        let values: Vec<f32> = image.as_raw().iter().map(|&byte| f32::from(byte) / 255.0 * 2.0 - 1.0).collect();
        let pixels = TensorData::new(values, [1, height, width, 3]);
        Tensor::<4>::from_data(pixels, (device, DType::F32)).permute([0, 3, 1, 2]).cast(dtype)
    }

    /// Maps [-1, 1] to bytes; what lies beyond is clamped.
    ///
    /// # Shapes
    /// `[B, 3, H, W]` to `B` pictures.
    ///
    /// # Panics
    /// When there are not three channels.
    pub fn postprocess(&self, pixels: Tensor<4>) -> Vec<RgbImage> {
        let [batch, channels, height, width] = pixels.dims();
        assert_eq!(channels, 3, "pictures are RGB");
        let pixels = pixels.cast(DType::F32).permute([0, 2, 3, 1]);
        let values: Vec<f32> = pixels.into_data().try_to_vec().expect("invariant: cast to f32 above");
        let byte = |&value: &f32| ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        values
            .chunks_exact(height * width * channels)
            .take(batch)
            .map(|image| {
                RgbImage::from_raw(width as u32, height as u32, image.iter().map(byte).collect())
                    .expect("invariant: one byte per pixel and channel")
            })
            .collect()
    }
}

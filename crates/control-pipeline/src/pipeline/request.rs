//! What a picture is asked for with, and what comes back. Names and defaults are those of the reference's `__call__`.

use std::str::FromStr;

use burn::tensor::Tensor;
use image::RgbImage;

use crate::error::{PipelineError, Result};

/// Height and width must be multiples of this, whatever the VAE.
const SIDE_MULTIPLE: usize = 16;
/// Longer sides are refused.
const MAX_SIDE: usize = 32_768;

/// A request for pictures.
///
/// ```
/// use cogview4_control_pipeline::ControlRequest;
///
/// let edges = image::RgbImage::new(64, 64);
/// let request = ControlRequest::new("a red fox", edges).num_inference_steps(20).guidance_scale(3.5).seed(7);
/// ```
#[derive(Debug, Clone)]
pub struct ControlRequest {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    pub(super) control_image: RgbImage,
    pub(super) height: Option<usize>,
    pub(super) width: Option<usize>,
    pub(super) num_inference_steps: usize,
    pub(super) guidance_scale: f64,
    pub(super) num_images_per_prompt: usize,
    pub(super) max_sequence_length: usize,
    pub(super) seed: u64,
    pub(super) latents: Option<Tensor<4>>,
    pub(super) control_latents: ControlLatents,
    pub(super) strict_text_mask: bool,
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

impl FromStr for ControlLatents {
    type Err = String;

    fn from_str(name: &str) -> core::result::Result<Self, String> {
        match name {
            "mode" => Ok(Self::Mode),
            "sample" => Ok(Self::Sample),
            _ => Err("possible values are `mode` and `sample`".into()),
        }
    }
}

impl ControlRequest {
    /// A picture of `prompt` that follows `control_image`.
    pub fn new(prompt: impl Into<String>, control_image: RgbImage) -> Self {
        Self {
            prompt: prompt.into(),
            negative_prompt: String::new(),
            control_image,
            height: None,
            width: None,
            num_inference_steps: 50,
            guidance_scale: 5.0,
            num_images_per_prompt: 1,
            max_sequence_length: 1024,
            seed: 0,
            latents: None,
            control_latents: ControlLatents::default(),
            strict_text_mask: false,
        }
    }

    /// Checks what can be checked without the models: sizes, counts and scales.
    ///
    /// # Errors
    /// [`PipelineError::BadInput`] names the value that is out of range.
    pub fn check(&self) -> Result<()> {
        for (what, side) in [("height", self.height), ("width", self.width)] {
            if let Some(side) = side {
                check_side(what, side, SIDE_MULTIPLE)?;
            }
        }
        for (what, count) in
            [("num_inference_steps", self.num_inference_steps), ("num_images_per_prompt", self.num_images_per_prompt)]
        {
            if count == 0 {
                return Err(PipelineError::bad_input(what, "must be at least 1"));
            }
        }
        if !self.guidance_scale.is_finite() {
            let reason = format!("{} is not a finite number", self.guidance_scale);
            return Err(PipelineError::bad_input("guidance_scale", reason));
        }
        if self.control_image.width() == 0 || self.control_image.height() == 0 {
            return Err(PipelineError::bad_input("control_image", "has no pixels"));
        }
        Ok(())
    }

    /// Another control image.
    #[must_use]
    pub fn control_image(mut self, control_image: RgbImage) -> Self {
        self.control_image = control_image;
        self
    }

    /// What the picture should not be; only used with guidance. Empty by default.
    #[must_use]
    pub fn negative_prompt(mut self, negative_prompt: impl Into<String>) -> Self {
        self.negative_prompt = negative_prompt.into();
        self
    }

    /// Height in pixels, a multiple of 16; by default the transformer's `sample_size` times the VAE's scale.
    #[must_use]
    pub fn height(mut self, height: usize) -> Self {
        self.height = Some(height);
        self
    }

    /// Width in pixels, a multiple of 16; by default the transformer's `sample_size` times the VAE's scale.
    #[must_use]
    pub fn width(mut self, width: usize) -> Self {
        self.width = Some(width);
        self
    }

    /// Number of denoising steps; 50 by default.
    #[must_use]
    pub fn num_inference_steps(mut self, steps: usize) -> Self {
        self.num_inference_steps = steps;
        self
    }

    /// Scale of the classifier-free guidance, off at 1 and below; 5.0 by default.
    #[must_use]
    pub fn guidance_scale(mut self, scale: f64) -> Self {
        self.guidance_scale = scale;
        self
    }

    /// Number of pictures; 1 by default.
    #[must_use]
    pub fn num_images_per_prompt(mut self, count: usize) -> Self {
        self.num_images_per_prompt = count;
        self
    }

    /// Longer prompts are cut to this many tokens; 1024 by default.
    #[must_use]
    pub fn max_sequence_length(mut self, tokens: usize) -> Self {
        self.max_sequence_length = tokens;
        self
    }

    /// Seed of the initial noise: the same draws as `torch.Generator("cpu").manual_seed(seed)`. 0 by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Initial noise instead of a drawn one: `[num_images_per_prompt, C, H / s, W / s]`.
    #[must_use]
    pub fn latents(mut self, latents: Tensor<4>) -> Self {
        self.latents = Some(latents);
        self
    }

    /// How the control latents follow from what the VAE gives; the posterior's mean by default.
    #[must_use]
    pub fn control_latents(mut self, kind: ControlLatents) -> Self {
        self.control_latents = kind;
        self
    }

    /// Whether pictures may not see the pads of the prompt. Off by default, as the released weights were made to run.
    #[must_use]
    pub fn strict_text_mask(mut self, strict: bool) -> Self {
        self.strict_text_mask = strict;
        self
    }
}

/// Checks a side of the picture.
pub(super) fn check_side(what: &'static str, side: usize, multiple: usize) -> Result<()> {
    if side == 0 || side > MAX_SIDE || !side.is_multiple_of(multiple) {
        let reason = format!("{side} is not a multiple of {multiple} from {multiple} to {MAX_SIDE}");
        return Err(PipelineError::bad_input(what, reason));
    }
    Ok(())
}

/// What a request gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CogView4PipelineOutput {
    /// The pictures.
    pub images: Vec<RgbImage>,
    /// The final latents before decoding, `[B, C, H / s, W / s]` f32.
    pub latents: Tensor<4>,
}

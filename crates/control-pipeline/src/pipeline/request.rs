//! What a picture is asked for with. Names and defaults are those of the reference's `__call__`.

use burn::tensor::Tensor;
use cogview4_model::scheduler::StepSchedule;

use super::{Conditioning, Control, ControlImage, ControlLatents, OutputType, Prompt};
use crate::error::{PipelineError, Result};

/// Height and width must be multiples of this, whatever the VAE.
const SIDE_MULTIPLE: usize = 16;
/// More steps are refused.
pub const MAX_STEPS: usize = 100_000;
/// So are more pictures, those of all prompts together.
pub const MAX_IMAGES: usize = 10_000;
/// A larger scale leaves nothing of what the model says.
pub const MAX_GUIDANCE: f64 = 1e4;
/// Longer sides are refused.
const MAX_SIDE: usize = 32_768;

/// A request to [`CogView4ControlPipeline`](crate::CogView4ControlPipeline).
///
/// ```
/// use cogview4_control_pipeline::ControlRequest;
///
/// let edges = image::RgbImage::new(64, 64);
/// let request = ControlRequest::new("a red fox", edges).num_inference_steps(20).guidance_scale(3.5).seed(7);
/// ```
pub type ControlRequest = PipelineRequest<Control>;

/// A request to [`CogView4Pipeline`](crate::CogView4Pipeline): text only.
///
/// ```
/// use cogview4_control_pipeline::TextRequest;
///
/// let request = TextRequest::new(["a red fox", "a blue bird"]).negative_prompt("blurry").num_images_per_prompt(2);
/// ```
pub type TextRequest = PipelineRequest<()>;

/// A request for pictures; `C` is what the pipeline takes beside text.
#[derive(Debug, Clone)]
pub struct PipelineRequest<C> {
    pub(super) prompt: Prompt,
    pub(super) negative_prompt: Prompt,
    pub(super) conditioning: C,
    pub(super) height: Option<usize>,
    pub(super) width: Option<usize>,
    pub(super) num_inference_steps: usize,
    pub(super) timesteps: Option<Vec<f32>>,
    pub(super) sigmas: Option<Vec<f32>>,
    pub(super) guidance_scale: f64,
    pub(super) num_images_per_prompt: usize,
    pub(super) max_sequence_length: usize,
    pub(super) seeds: Vec<u64>,
    pub(super) latents: Option<Tensor<4>>,
    pub(super) original_size: Option<[usize; 2]>,
    pub(super) crops_coords_top_left: [usize; 2],
    pub(super) output_type: OutputType,
    pub(super) strict_text_mask: bool,
}

impl ControlRequest {
    /// Pictures of `prompt` that follow `control_image`: one picture, a list with one for each prompt, or a tensor.
    pub fn new(prompt: impl Into<Prompt>, control_image: impl Into<ControlImage>) -> Self {
        let control = Control { image: control_image.into(), latents: ControlLatents::default() };
        Self::with_conditioning(prompt.into(), control)
    }

    /// Another control image.
    #[must_use]
    pub fn control_image(mut self, control_image: impl Into<ControlImage>) -> Self {
        self.conditioning.image = control_image.into();
        self
    }

    /// How the control latents follow from what the VAE gives; the posterior's mean by default.
    #[must_use]
    pub fn control_latents(mut self, kind: ControlLatents) -> Self {
        self.conditioning.latents = kind;
        self
    }
}

impl TextRequest {
    /// Pictures of `prompt`.
    pub fn new(prompt: impl Into<Prompt>) -> Self {
        Self::with_conditioning(prompt.into(), ())
    }
}

impl<C: Conditioning> PipelineRequest<C> {
    fn with_conditioning(prompt: Prompt, conditioning: C) -> Self {
        Self {
            prompt,
            negative_prompt: "".into(),
            conditioning,
            height: None,
            width: None,
            num_inference_steps: 50,
            timesteps: None,
            sigmas: None,
            guidance_scale: 5.0,
            num_images_per_prompt: 1,
            max_sequence_length: 1024,
            seeds: vec![0],
            latents: None,
            original_size: None,
            crops_coords_top_left: [0, 0],
            output_type: OutputType::default(),
            strict_text_mask: false,
        }
    }

    /// What the pictures should not be, once for all or one for each prompt; only used with guidance. Empty by default.
    #[must_use]
    pub fn negative_prompt(mut self, negative_prompt: impl Into<Prompt>) -> Self {
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

    /// Number of denoising steps; 50 by default. Custom timesteps or sigmas say it themselves.
    #[must_use]
    pub fn num_inference_steps(mut self, steps: usize) -> Self {
        self.num_inference_steps = steps;
        self
    }

    /// Custom timesteps in [0, 1000], descending; cut to integers. With sigmas as well, both must be equally many.
    #[must_use]
    pub fn timesteps(mut self, timesteps: impl Into<Vec<f32>>) -> Self {
        self.timesteps = Some(timesteps.into());
        self
    }

    /// Custom noise levels in (0, 1], descending, before the shift by the size of the picture.
    #[must_use]
    pub fn sigmas(mut self, sigmas: impl Into<Vec<f32>>) -> Self {
        self.sigmas = Some(sigmas.into());
        self
    }

    /// Scale of the classifier-free guidance, off at 1 and below; 5.0 by default.
    #[must_use]
    pub fn guidance_scale(mut self, scale: f64) -> Self {
        self.guidance_scale = scale;
        self
    }

    /// Number of pictures for each prompt; 1 by default.
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
        self.seeds = vec![seed];
        self
    }

    /// A seed for each picture, as a list of generators in diffusers.
    #[must_use]
    pub fn seeds(mut self, seeds: impl Into<Vec<u64>>) -> Self {
        self.seeds = seeds.into();
        self
    }

    /// Initial noise instead of a drawn one, one per picture: `[B, C, H / s, W / s]`.
    #[must_use]
    pub fn latents(mut self, latents: Tensor<4>) -> Self {
        self.latents = Some(latents);
        self
    }

    /// Height and width, in pixels, that the model is told the picture had at first; the picture's own by default.
    #[must_use]
    pub fn original_size(mut self, height: usize, width: usize) -> Self {
        self.original_size = Some([height, width]);
        self
    }

    /// Where, in pixels, the model is told the picture was cut from; (0, 0) by default.
    #[must_use]
    pub fn crops_coords_top_left(mut self, top: usize, left: usize) -> Self {
        self.crops_coords_top_left = [top, left];
        self
    }

    /// What comes back; pictures by default.
    #[must_use]
    pub fn output_type(mut self, output_type: OutputType) -> Self {
        self.output_type = output_type;
        self
    }

    /// Whether pictures may not see the pads of the prompt. Off by default, as the released weights were made to run.
    #[must_use]
    pub fn strict_text_mask(mut self, strict: bool) -> Self {
        self.strict_text_mask = strict;
        self
    }

    /// Checks what can be checked without the models: sizes, counts and scales.
    ///
    /// # Errors
    /// [`PipelineError::BadInput`] names the value that is out of range.
    pub fn check(&self) -> Result<()> {
        let fail = |what, reason: String| Err(PipelineError::bad_input(what, reason));
        for (what, side) in [("height", self.height), ("width", self.width)] {
            side.iter().try_for_each(|&side| check_side(what, side, SIDE_MULTIPLE))?;
        }
        for (what, count) in [
            ("prompt", self.prompt.len()),
            ("num_inference_steps", self.num_inference_steps),
            ("num_images_per_prompt", self.num_images_per_prompt),
        ] {
            if count == 0 {
                return fail(what, "must be at least 1".into());
            }
        }
        let images = self.prompt.len().saturating_mul(self.num_images_per_prompt);
        for (what, count, most) in [
            ("num_inference_steps", self.num_inference_steps, MAX_STEPS),
            ("num_images_per_prompt", images, MAX_IMAGES),
        ] {
            if count > most {
                return fail(what, format!("{count}, at most {most} are possible"));
            }
        }
        if !(-MAX_GUIDANCE..=MAX_GUIDANCE).contains(&self.guidance_scale) {
            let reason = format!("{} is not a finite number up to {MAX_GUIDANCE}", self.guidance_scale);
            return fail("guidance_scale", reason);
        }
        if self.original_size.is_some_and(|size| size.contains(&0)) {
            return fail("original_size", "must be at least 1".into());
        }
        let (prompts, negatives) = (self.prompt.len(), self.negative_prompt.len());
        if negatives != 1 && negatives != prompts {
            let reason = format!("{negatives} for {prompts} prompts, one or as many are needed");
            return fail("negative_prompt", reason);
        }
        let (seeds, images) = (self.seeds.len(), self.num_images());
        if seeds != 1 && seeds != images {
            return fail("seeds", format!("{seeds} for {images} pictures, one or as many are needed"));
        }
        self.conditioning.control().map_or(Ok(()), |control| control.check(prompts))
    }

    /// Number of pictures.
    pub(super) fn num_images(&self) -> usize {
        self.prompt.len() * self.num_images_per_prompt
    }

    /// What decides the steps.
    pub(super) fn schedule(&self) -> StepSchedule {
        match (self.timesteps.clone(), self.sigmas.clone()) {
            (None, None) => StepSchedule::Steps(self.num_inference_steps),
            (Some(timesteps), None) => StepSchedule::Timesteps(timesteps),
            (None, Some(sigmas)) => StepSchedule::Sigmas(sigmas),
            (Some(timesteps), Some(sigmas)) => StepSchedule::TimestepsAndSigmas(timesteps, sigmas),
        }
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

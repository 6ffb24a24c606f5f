//! The pipeline: prompt and control image in, pictures out. Source:
//! `pipelines/cogview4/pipeline_cogview4_control.py` of diffusers 0.42.1.

mod loader;
mod request;

use std::path::Path;

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use cogview4_model::{
    AutoencoderKl, AutoencoderKlConfig, CogView4Transformer, CogView4TransformerConfig, FlowMatchEulerScheduler,
    FlowMatchEulerSchedulerConfig, GlmModel, TorchGenerator,
    scheduler::StepSchedule,
    transformer::{SizeConditions, TransformerInputs},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use loader::{PipelineLoader, TransformerSource};
use request::check_side;

pub use request::{CogView4PipelineOutput, ControlLatents, ControlRequest};

use crate::{
    error::{PipelineError, Result},
    image::VaeImageProcessor,
    tokenizer::PromptTokenizer,
};

/// Draws pictures from a prompt and a control image.
///
/// ```no_run
/// use cogview4_control_pipeline::{CannyDetector, CogView4ControlPipeline, ControlRequest, load_image};
///
/// let pipe = CogView4ControlPipeline::from_pretrained("CogView4-Control").transformer("checkpoint-500/transformer").load()?;
/// let edges = CannyDetector::default().detect(&load_image("fox.png")?)?;
/// let output = pipe.generate(&ControlRequest::new("a red fox in the snow", edges).seed(42))?;
/// output.images[0].save("cogview4.png")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CogView4ControlPipeline {
    tokenizer: PromptTokenizer,
    text_encoder: GlmModel,
    vae: AutoencoderKl,
    transformer: CogView4Transformer,
    scheduler: FlowMatchEulerSchedulerConfig,
    device: Device,
    dtype: DType,
    progress_bar: bool,
}

/// The embeddings of one prompt for a batch, and the pads among them.
struct TextEmbeds {
    /// `[B, S, text_embed_dim]`.
    embeds: Tensor<3>,
    /// `[B, S]`, true = hidden; `None` shows all.
    hidden: Option<Tensor<2, Bool>>,
}

impl CogView4ControlPipeline {
    /// Starts loading a pipeline from a folder in diffusers layout.
    pub fn from_pretrained(folder: impl AsRef<Path>) -> PipelineLoader {
        PipelineLoader::new(folder.as_ref())
    }

    /// Height and width of a picture for which none is asked, in pixels.
    pub fn default_size(&self) -> usize {
        default_size(self.transformer.config(), self.vae.config())
    }

    /// Draws pictures.
    ///
    /// # Errors
    /// [`PipelineError::BadInput`] for a request that is out of range or does not fit the models.
    pub fn generate(&self, request: &ControlRequest) -> Result<CogView4PipelineOutput> {
        // 1. Check the request
        let [height, width] = self.check_request(request)?;
        let config = self.transformer.config();
        let batch = request.num_images_per_prompt;
        let latent_shape = self.latent_shape(batch, [height, width]);
        let image_seq_len = latent_shape[2] * latent_shape[3] / (config.patch_size * config.patch_size);
        let schedule = StepSchedule::Steps(request.num_inference_steps);
        let schedule = FlowMatchEulerScheduler::new(&self.scheduler, &schedule, image_seq_len)?;

        // 2. Encode the prompts
        let prompt_embeds = self.encode_prompt(&request.prompt, request)?;
        let negative_prompt_embeds = match request.guidance_scale > 1.0 {
            true => Some(self.encode_prompt(&request.negative_prompt, request)?),
            false => None,
        };

        // 3. Latents: the noise to start from, and the control
        let mut generator = TorchGenerator::new(request.seed);
        let latents = match &request.latents {
            Some(latents) => latents.clone().to_device(&self.device).cast(DType::F32),
            None => self.randn(&mut generator, latent_shape),
        };
        let control_latents = self.encode_control(request, [height, width], &mut generator);

        // 4. Denoise
        let sizes = vec![SizeConditions::uncropped(height, width); batch];
        let latents = self.denoise(&schedule, latents, |latents, timestep| {
            let latent_model_input = Tensor::cat(vec![latents, control_latents.clone()], 1).cast(self.dtype);
            let predict = |text: &TextEmbeds| {
                let inputs = TransformerInputs {
                    hidden_states: latent_model_input.clone(),
                    encoder_hidden_states: text.embeds.clone(),
                    timesteps: &vec![timestep; batch],
                    sizes: &sizes,
                    hidden_text: text.hidden.clone(),
                };
                self.transformer.forward(inputs).cast(DType::F32)
            };
            // Both branches at once: what runs on one thread within a branch would leave the other cores idle.
            match rayon::join(|| predict(&prompt_embeds), || negative_prompt_embeds.as_ref().map(predict)) {
                (conditional, None) => conditional,
                (conditional, Some(unconditional)) => {
                    unconditional.clone() + (conditional - unconditional) * request.guidance_scale
                }
            }
        });

        // 5. Decode, one picture at a time to keep memory low
        let denormalized = self.vae.denormalize(latents.clone()).cast(self.dtype);
        let decode = |image: usize| {
            let pixels = self.vae.decode(denormalized.clone().narrow(0, image, 1));
            VaeImageProcessor.postprocess(pixels)
        };
        Ok(CogView4PipelineOutput { images: (0..batch).flat_map(decode).collect(), latents })
    }

    /// Checks the request and gives height and width.
    fn check_request(&self, request: &ControlRequest) -> Result<[usize; 2]> {
        request.check()?;
        let default = self.default_size();
        let size = [request.height.unwrap_or(default), request.width.unwrap_or(default)];
        let patch = self.vae.config().scale_factor() * self.transformer.config().patch_size;
        check_side("height", size[0], patch)?;
        check_side("width", size[1], patch)?;
        if let Some(latents) = &request.latents {
            let (expected, found) = (self.latent_shape(request.num_images_per_prompt, size), latents.dims());
            if expected != found {
                let reason = format!("shape {found:?}, but this request needs {expected:?}");
                return Err(PipelineError::bad_input("latents", reason));
            }
        }
        Ok(size)
    }

    fn latent_shape(&self, batch: usize, [height, width]: [usize; 2]) -> [usize; 4] {
        let scale = self.vae.config().scale_factor();
        [batch, self.vae.config().latent_channels, height / scale, width / scale]
    }

    fn encode_prompt(&self, prompt: &str, request: &ControlRequest) -> Result<TextEmbeds> {
        let tokens = self.tokenizer.encode(prompt, request.max_sequence_length)?;
        self.text_encoder.check_ids(&tokens.ids)?;
        let (batch, seq) = (request.num_images_per_prompt, tokens.ids.len());
        let hidden = request.strict_text_mask.then(|| {
            let hidden: Vec<bool> = (0..batch * seq).map(|index| index % seq < tokens.pads).collect();
            Tensor::from_data(TensorData::new(hidden, [batch, seq]), &self.device)
        });
        Ok(TextEmbeds { embeds: self.text_encoder.forward(&tokens.ids).repeat_dim(0, batch), hidden })
    }

    /// Control latents, normalised for the transformer, one a picture.
    fn encode_control(&self, request: &ControlRequest, size: [usize; 2], generator: &mut TorchGenerator) -> Tensor<4> {
        let [height, width] = size;
        let batch = request.num_images_per_prompt;
        let pixels = VaeImageProcessor.preprocess(&request.control_image, height, width, self.dtype, &self.device);
        let posterior = self.vae.encode(pixels);
        let latents = match request.control_latents {
            ControlLatents::Mode => posterior.mode().repeat_dim(0, batch),
            // Drawn after the noise, so that the noise is the same either way.
            ControlLatents::Sample => {
                let noise = self.randn(generator, self.latent_shape(batch, size));
                posterior.sample(noise)
            }
        };
        self.vae.normalize(latents)
    }

    fn randn(&self, generator: &mut TorchGenerator, shape: [usize; 4]) -> Tensor<4> {
        let noise = generator.randn(shape.iter().product());
        Tensor::from_data(TensorData::new(noise, shape), (&self.device, DType::F32))
    }

    fn denoise(
        &self,
        schedule: &FlowMatchEulerScheduler,
        latents: Tensor<4>,
        predict: impl Fn(Tensor<4>, f32) -> Tensor<4>,
    ) -> Tensor<4> {
        let progress = self.progress(schedule.timesteps.len());
        let latents = schedule.timesteps.iter().enumerate().fold(latents, |latents, (index, &timestep)| {
            let velocity = predict(latents.clone(), timestep);
            let latents = schedule.step(index, velocity, latents);
            progress.inc(1);
            latents
        });
        progress.finish();
        latents
    }

    fn progress(&self, steps: usize) -> ProgressBar {
        let target = if self.progress_bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{percent:>3}%|{bar:40}| {pos}/{len} [{elapsed}<{eta}, {per_sec}]")
            .expect("invariant: the template is valid");
        ProgressBar::with_draw_target(Some(steps as u64), target).with_style(style)
    }
}

fn default_size(transformer: &CogView4TransformerConfig, vae: &AutoencoderKlConfig) -> usize {
    transformer.sample_size * vae.scale_factor()
}

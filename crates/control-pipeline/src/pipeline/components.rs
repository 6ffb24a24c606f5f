//! What the pipelines share: the models, and a run from prompts to pictures.

use std::{ops::ControlFlow, path::Path};

use burn::tensor::{DType, Device, Tensor, TensorData};
use cogview4_model::{
    AutoencoderKl, AutoencoderKlConfig, CogView4Transformer, CogView4TransformerConfig, FlowMatchEulerScheduler,
    FlowMatchEulerSchedulerConfig, GlmConfig, GlmModel, TorchGenerator, transformer::SizeConditions,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    CogView4PipelineOutput, Conditioning, Control, ControlLatents, OutputType, PipelineRequest, Prompt, PromptEmbeds,
    Sampler, StepEnd, request::check_side,
};
use crate::{
    error::{PipelineError, Result},
    image::VaeImageProcessor,
    tokenizer::PromptTokenizer,
};

/// The models of a pipeline, loaded; they can be shared by several pipelines, as copies share their weights.
#[derive(Debug, Clone)]
pub struct Components {
    /// Prompts to ids.
    pub tokenizer: PromptTokenizer,
    /// Ids to embeddings.
    pub text_encoder: GlmModel,
    /// Pictures to latents and back.
    pub vae: AutoencoderKl,
    /// The diffusion transformer.
    pub transformer: CogView4Transformer,
    /// Noise levels.
    pub scheduler: FlowMatchEulerSchedulerConfig,
    /// Where all of it is.
    pub device: Device,
    /// Number type of the models.
    pub dtype: DType,
    /// Whether sampling shows its progress on standard error, where that is a terminal.
    pub progress_bar: bool,
}

/// The configurations that must fit each other.
pub(super) struct Configs<'a> {
    pub text_encoder: &'a GlmConfig,
    pub vae: &'a AutoencoderKlConfig,
    pub transformer: &'a CogView4TransformerConfig,
}

impl Configs<'_> {
    /// Compares what the components say of each other; `has_control` asks for twice the input channels.
    pub(super) fn check(&self, has_control: bool, transformer_at: &Path) -> Result<()> {
        let Self { text_encoder, vae, transformer } = self;
        let fail = |reason: String| Err(PipelineError::component(transformer_at, reason));
        let (base, control) = (vae.latent_channels, 2 * vae.latent_channels);
        match (has_control, transformer.in_channels) {
            (true, channels) if channels == base => {
                return fail(format!(
                    "`in_channels` is {channels}: a base model, but a control model ({control} channels) is needed"
                ));
            }
            (false, channels) if channels == control => {
                return fail(format!(
                    "`in_channels` is {channels}: a control model, but a base model ({base} channels) is needed"
                ));
            }
            (true, channels) if channels != control => {
                return fail(format!(
                    "`in_channels` is {channels}, but the VAE's `latent_channels` {base} ask for twice as many as those"
                ));
            }
            (false, channels) if channels != base => {
                return fail(format!("`in_channels` is {channels}, but the VAE's `latent_channels` is {base}"));
            }
            _ => {}
        }
        if transformer.out_channels != base {
            let channels = transformer.out_channels;
            return fail(format!("`out_channels` is {channels}, but the VAE's `latent_channels` is {base}"));
        }
        if transformer.text_embed_dim != text_encoder.hidden_size {
            return fail(format!(
                "`text_embed_dim` is {}, but the text encoder's `hidden_size` is {}",
                transformer.text_embed_dim, text_encoder.hidden_size
            ));
        }
        if (vae.in_channels, vae.out_channels) != (3, 3) {
            return fail(format!(
                "the VAE has {} and {} picture channels, expected 3",
                vae.in_channels, vae.out_channels
            ));
        }
        Ok(())
    }
}

pub(super) fn default_size(transformer: &CogView4TransformerConfig, vae: &AutoencoderKlConfig) -> usize {
    transformer.sample_size * vae.scale_factor()
}

/// Noise as `torch.Generator` draws it: one generator for all pictures, or one for each.
struct Noise {
    generators: Vec<TorchGenerator>,
}

impl Noise {
    fn new(seeds: &[u64]) -> Self {
        Self { generators: seeds.iter().map(|&seed| TorchGenerator::new(seed)).collect() }
    }

    fn draw(&mut self, shape: [usize; 4], device: &Device) -> Tensor<4> {
        let each = shape.iter().product::<usize>() / self.generators.len();
        let noise = self.generators.iter_mut().flat_map(|generator| generator.randn(each)).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(noise, shape), (device, DType::F32))
    }
}

impl Components {
    /// Checks that the models fit each other.
    pub(super) fn check(&self, has_control: bool) -> Result<()> {
        let configs = Configs {
            text_encoder: self.text_encoder.config(),
            vae: self.vae.config(),
            transformer: self.transformer.config(),
        };
        configs.check(has_control, Path::new("the given transformer"))
    }

    pub(super) fn default_size(&self) -> usize {
        default_size(self.transformer.config(), self.vae.config())
    }

    /// Draws pictures; the request was checked by itself already.
    pub(super) fn generate<C: Conditioning>(
        &self,
        request: &PipelineRequest<C>,
        on_step_end: &mut dyn FnMut(&mut StepEnd) -> ControlFlow<()>,
    ) -> Result<CogView4PipelineOutput> {
        // 1. Sizes and steps
        let size = self.check_request(request)?;
        let latent_shape = self.latent_shape(request.num_images(), size);
        let patch_size = self.transformer.config().patch_size;
        let image_seq_len = latent_shape[2] * latent_shape[3] / (patch_size * patch_size);
        let schedule = FlowMatchEulerScheduler::new(&self.scheduler, &request.schedule(), image_seq_len)?;

        // 2. Encode the prompts
        let encode = |prompt: &Prompt| -> Result<PromptEmbeds> {
            let embeds = self.embeds(prompt, request.max_sequence_length, request.strict_text_mask)?;
            // One negative prompt serves all prompts.
            let repeats = request.num_images() / prompt.len();
            Ok(embeds.repeat_interleave(repeats))
        };
        let prompt_embeds = encode(&request.prompt)?;
        let guided = request.guidance_scale > 1.0;
        let negative_prompt_embeds = guided.then(|| encode(&request.negative_prompt)).transpose()?;

        // 3. Latents: the noise to start from, and the control
        let mut noise = Noise::new(&request.seeds);
        let latents = match &request.latents {
            Some(latents) => latents.clone().to_device(&self.device).cast(DType::F32),
            None => noise.draw(latent_shape, &self.device),
        };
        let control = request.conditioning.control();
        let control_latents = control.map(|control| self.control_latents(control, size, latent_shape, &mut noise));

        // 4. Denoise
        let sampler = Sampler {
            transformer: &self.transformer,
            schedule: &schedule,
            guidance_scale: request.guidance_scale,
            sizes: SizeConditions {
                original_size: request.original_size.unwrap_or(size),
                target_size: size,
                crop_coords: request.crops_coords_top_left,
            },
            dtype: self.dtype,
        };
        let progress = self.progress(schedule.timesteps.len());
        let mut on_step_end = |end: &mut StepEnd| {
            progress.inc(1);
            on_step_end(end)
        };
        let latents =
            sampler.run(latents, control_latents.as_ref(), prompt_embeds, negative_prompt_embeds, &mut on_step_end)?;
        progress.finish();

        // 5. Decode
        Ok(self.output(latents, request.output_type))
    }

    /// Checks the request against the models and gives height and width.
    fn check_request<C: Conditioning>(&self, request: &PipelineRequest<C>) -> Result<[usize; 2]> {
        let default = self.default_size();
        let size = [request.height.unwrap_or(default), request.width.unwrap_or(default)];
        let patch = self.vae.config().scale_factor() * self.transformer.config().patch_size;
        check_side("height", size[0], patch)?;
        check_side("width", size[1], patch)?;
        if let Some(latents) = &request.latents {
            let (expected, found) = (self.latent_shape(request.num_images(), size), latents.dims());
            if expected != found {
                let reason = format!("shape {found:?}, but this request needs {expected:?}");
                return Err(PipelineError::bad_input("latents", reason));
            }
        }
        let width = self.transformer.config().text_embed_dim;
        for (what, prompt) in [("prompt_embeds", &request.prompt), ("negative_prompt_embeds", &request.negative_prompt)]
        {
            if let Prompt::Embeds(embeds) = prompt {
                embeds.check(what, prompt.len(), width)?;
            }
        }
        Ok(size)
    }

    fn latent_shape(&self, batch: usize, [height, width]: [usize; 2]) -> [usize; 4] {
        let scale = self.vae.config().scale_factor();
        [batch, self.vae.config().latent_channels, height / scale, width / scale]
    }

    /// Embeddings, one a prompt; each text goes through the text encoder alone.
    pub(super) fn embeds(&self, prompt: &Prompt, max_sequence_length: usize, strict: bool) -> Result<PromptEmbeds> {
        let encode = |text: &String| {
            let tokens = self.tokenizer.encode(text, max_sequence_length)?;
            self.text_encoder.check_ids(&tokens.ids)?;
            let hidden = strict.then(|| {
                let hidden: Vec<bool> = (0..tokens.ids.len()).map(|index| index < tokens.pads).collect();
                Tensor::from_data(TensorData::new(hidden, [1, tokens.ids.len()]), &self.device)
            });
            Ok(PromptEmbeds { embeds: self.text_encoder.forward(&tokens.ids), hidden })
        };
        match prompt {
            Prompt::Texts(texts) => Ok(PromptEmbeds::stack(texts.iter().map(encode).collect::<Result<_>>()?)),
            Prompt::Embeds(PromptEmbeds { embeds, hidden }) => Ok(PromptEmbeds {
                embeds: embeds.clone().to_device(&self.device).cast(self.dtype),
                hidden: hidden.clone().map(|hidden| hidden.to_device(&self.device)),
            }),
        }
    }

    /// Control latents, normalised for the transformer, one a picture.
    fn control_latents(&self, control: &Control, size: [usize; 2], shape: [usize; 4], noise: &mut Noise) -> Tensor<4> {
        let pixels = control.pixels(size, self.dtype, &self.device);
        let repeats = shape[0] / pixels.len();
        let noise = match control.latents {
            ControlLatents::Mode => None,
            // Drawn after the noise, so that the noise is the same either way.
            ControlLatents::Sample => Some(noise.draw(shape, &self.device)),
        };
        let encode = |(index, pixels): (usize, Tensor<4>)| {
            let posterior = self.vae.encode(pixels);
            match &noise {
                None => posterior.mode().repeat_dim(0, repeats),
                Some(noise) => posterior.sample(noise.clone().narrow(0, index * repeats, repeats)),
            }
        };
        self.vae.normalize(Tensor::cat(pixels.into_iter().enumerate().map(encode).collect(), 0))
    }

    /// Decodes one picture at a time, to keep memory low.
    fn output(&self, latents: Tensor<4>, output_type: OutputType) -> CogView4PipelineOutput {
        let denormalized = self.vae.denormalize(latents.clone()).cast(self.dtype);
        let decode = |latents| self.vae.decode(latents);
        let mut output = CogView4PipelineOutput { images: Vec::new(), pixels: None, latents };
        match output_type {
            OutputType::Latent => {}
            OutputType::Image => {
                let pictures = denormalized.split(1, 0).into_iter();
                output.images = pictures.flat_map(|latents| VaeImageProcessor.postprocess(decode(latents))).collect();
            }
            OutputType::Tensor => {
                let pixels = Tensor::cat(denormalized.split(1, 0).into_iter().map(decode).collect(), 0);
                output.pixels = Some((pixels.cast(DType::F32) * 0.5 + 0.5).clamp(0.0, 1.0));
            }
        }
        output
    }

    fn progress(&self, steps: usize) -> ProgressBar {
        let target = if self.progress_bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{percent:>3}%|{bar:40}| {pos}/{len} [{elapsed}<{eta}, {per_sec}]")
            .expect("invariant: the template is valid");
        ProgressBar::with_draw_target(Some(steps as u64), target).with_style(style)
    }
}

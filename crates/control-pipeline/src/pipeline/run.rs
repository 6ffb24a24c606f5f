//! A run, from prompts and control images to pictures, in numbered steps.

use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use cogview4_model::{FlowMatchEulerScheduler, transformer::SizeConditions};

use super::{
    CogView4PipelineOutput, Components, Conditioning, Control, ControlLatents, OutputType, PipelineRequest, Prompt,
    PromptEmbeds, Sampler, StepEnd, noise::Noise, request::check_side,
};
use crate::{
    error::{PipelineError, Result},
    finite::check_finite,
    image::VaeImageProcessor,
    progress::progress_bar,
};

impl Components {
    /// Generates pictures; the request was checked by itself already.
    pub(super) fn generate<C: Conditioning>(
        &self,
        request: &PipelineRequest<C>,
        on_step_end: &mut dyn FnMut(&mut StepEnd) -> ControlFlow<()>,
    ) -> Result<CogView4PipelineOutput> {
        // 1. Sizes and steps
        let size = self.check_request(request)?;
        let latent_shape = self.latent_shape(request.num_images(), size);
        let patch_size = self.transformer().config().patch_size;
        let image_seq_len = latent_shape[2] * latent_shape[3] / (patch_size * patch_size);
        let schedule = FlowMatchEulerScheduler::new(self.scheduler(), &request.schedule(), image_seq_len)?;

        // 2. Encode the prompts
        let (prompt_embeds, negative_prompt_embeds) = self.encode_prompts(request)?;
        for embeds in [Some(&prompt_embeds), negative_prompt_embeds.as_ref()].into_iter().flatten() {
            check_finite(&embeds.embeds, "the prompt's embedding")?;
        }
        self.end_stage("text")?;

        // 3. Latents: the noise to start from, and the control
        let mut noise = Noise::new(&request.seeds);
        let latents = match &request.latents {
            Some(latents) => latents.clone().to_device(self.device()).cast(DType::F32),
            None => noise.draw(latent_shape, self.device()),
        };
        let control = request.conditioning.control();
        let control_latents = control.map(|control| self.control_latents(control, size, latent_shape, &mut noise));
        control_latents.iter().try_for_each(|latents| check_finite(latents, "the control image's latents"))?;
        self.end_stage("control image")?;

        // 4. Denoise
        let sampler = Sampler {
            transformer: self.transformer(),
            schedule: &schedule,
            guidance_scale: request.guidance_scale,
            sizes: SizeConditions {
                original_size: request.original_size.unwrap_or(size),
                target_size: size,
                crop_coords: request.crops_coords_top_left,
            },
            dtype: self.dtype(),
        };
        let progress = progress_bar("denoising", schedule.timesteps.len(), 0, self.shows_progress());
        let mut memory = Ok(());
        let mut on_step_end = |end: &mut StepEnd| {
            progress.inc(1);
            memory = self.check_memory("denoise");
            if memory.is_ok() { on_step_end(end) } else { ControlFlow::Break(()) }
        };
        let latents =
            sampler.run(latents, control_latents.as_ref(), prompt_embeds, negative_prompt_embeds, &mut on_step_end)?;
        progress.finish();
        memory?;
        self.end_stage("denoise")?;

        // 5. Decode
        check_finite(&latents, "what the transformer has made")?;
        self.output(latents, request.output_type)
    }

    /// Embeddings for each picture, of its prompt and, with guidance, of its negative prompt.
    fn encode_prompts<C: Conditioning>(
        &self,
        request: &PipelineRequest<C>,
    ) -> Result<(PromptEmbeds, Option<PromptEmbeds>)> {
        let (length, strict) = (request.max_sequence_length, request.strict_text_mask);
        // One negative prompt serves all prompts.
        let for_each_picture =
            |embeds: PromptEmbeds, prompt: &Prompt| embeds.repeat_interleave(request.num_images() / prompt.len());
        let (prompt, negative) = (&request.prompt, &request.negative_prompt);
        if request.guidance_scale > 1.0 {
            let [embeds, of_negative] = self.embeds_each([prompt, negative], length, strict)?;
            return Ok((for_each_picture(embeds, prompt), Some(for_each_picture(of_negative, negative))));
        }
        Ok((for_each_picture(self.embeds(prompt, length, strict)?, prompt), None))
    }

    /// Checks the request against the models and gives height and width.
    fn check_request<C: Conditioning>(&self, request: &PipelineRequest<C>) -> Result<[usize; 2]> {
        let configs = self.configs();
        let (default, multiple) = (configs.default_size(), configs.pixel_multiple());
        let size = [request.height.unwrap_or(default), request.width.unwrap_or(default)];
        check_side("height", size[0], multiple)?;
        check_side("width", size[1], multiple)?;
        if let Some(latents) = &request.latents {
            let (expected, found) = (self.latent_shape(request.num_images(), size), latents.dims());
            if expected != found {
                let reason = format!("shape {found:?}, but this request needs {expected:?}");
                return Err(PipelineError::bad_input("latents", reason));
            }
            check_finite(latents, "latents")?;
        }
        let width = configs.transformer.text_embed_dim;
        for (what, prompt) in [("prompt_embeds", &request.prompt), ("negative_prompt_embeds", &request.negative_prompt)]
        {
            if let Prompt::Embeds(embeds) = prompt {
                embeds.check(what, prompt.len(), width)?;
            }
        }
        Ok(size)
    }

    fn latent_shape(&self, batch: usize, [height, width]: [usize; 2]) -> [usize; 4] {
        let scale = self.vae().config().scale_factor();
        [batch, self.vae().config().latent_channels, height / scale, width / scale]
    }

    /// Control latents, normalised for the transformer, one per picture.
    fn control_latents(&self, control: &Control, size: [usize; 2], shape: [usize; 4], noise: &mut Noise) -> Tensor<4> {
        let pixels = control.pixels(size, self.dtype(), self.device());
        let repeats = shape[0] / pixels.len();
        let noise = match control.latents {
            ControlLatents::Mode => None,
            // Drawn after the noise, so that the noise is the same either way.
            ControlLatents::Sample => Some(noise.draw(shape, self.device())),
        };
        let encode = |(index, pixels): (usize, Tensor<4>)| {
            let posterior = self.vae().encode(pixels);
            match &noise {
                None => posterior.mode().repeat_dim(0, repeats),
                Some(noise) => posterior.sample(noise.clone().narrow(0, index * repeats, repeats)),
            }
        };
        self.vae().normalize(Tensor::cat(pixels.into_iter().enumerate().map(encode).collect(), 0))
    }

    /// Decodes one picture at a time, to keep memory low.
    fn output(&self, latents: Tensor<4>, output_type: OutputType) -> Result<CogView4PipelineOutput> {
        let denormalized = self.vae().denormalize(latents.clone()).cast(self.dtype());
        let decode = |latents| -> Result<Tensor<4>> {
            let pixels = self.vae().decode(latents);
            check_finite(&pixels, "the decoded picture").map(|()| pixels)
        };
        let mut output = CogView4PipelineOutput { images: Vec::new(), pixels: None, latents };
        match output_type {
            OutputType::Latent => {}
            OutputType::Image => {
                for latents in denormalized.split(1, 0) {
                    output.images.extend(VaeImageProcessor.postprocess(decode(latents)?));
                }
            }
            OutputType::Tensor => {
                let pixels = denormalized.split(1, 0).into_iter().map(decode).collect::<Result<_>>()?;
                let pixels = Tensor::cat(pixels, 0);
                output.pixels = Some((pixels.cast(DType::F32) * 0.5 + 0.5).clamp(0.0, 1.0));
            }
        }
        Ok(output)
    }
}

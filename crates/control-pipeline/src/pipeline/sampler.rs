//! The denoising loop, shared by the pipelines and by the trainer's validation.

use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use cogview4_model::{
    CogView4Transformer, FlowMatchEulerScheduler,
    transformer::{SizeConditions, TransformerInputs},
};

use super::PromptEmbeds;
use crate::error::{PipelineError, Result};

/// Denoises latents step by step, with classifier-free guidance.
///
/// The pipelines use it; so can a program that has latents and embeddings of its own:
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use burn::tensor::Tensor;
/// use cogview4_control_pipeline::{CogView4Pipeline, Sampler};
/// use cogview4_model::{FlowMatchEulerScheduler, scheduler::StepSchedule, transformer::SizeConditions};
///
/// let pipe = CogView4Pipeline::from_pretrained("CogView4-6B").load()?;
/// let parts = pipe.components();
/// let schedule = FlowMatchEulerScheduler::new(parts.scheduler(), &StepSchedule::Steps(20), 1024)?;
/// let sampler = Sampler {
///     transformer: parts.transformer(),
///     schedule: &schedule,
///     guidance_scale: 1.0,
///     sizes: SizeConditions::uncropped(512, 512),
///     dtype: parts.dtype(),
/// };
/// let noise = Tensor::zeros([1, 16, 64, 64], parts.device());
/// let embeds = pipe.encode_prompt("a red fox", 1024, false)?;
/// let latents = sampler.run(noise, None, embeds, None, &mut |_| ControlFlow::Continue(()))?;
/// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
/// ```
#[derive(Debug)]
pub struct Sampler<'a> {
    /// The model.
    pub transformer: &'a CogView4Transformer,
    /// Steps and their noise levels.
    pub schedule: &'a FlowMatchEulerScheduler,
    /// Scale of the guidance; it works where there are negative embeddings.
    pub guidance_scale: f64,
    /// Sizes that the model is told, the same for all pictures.
    pub sizes: SizeConditions,
    /// Number type of the model.
    pub dtype: DType,
}

/// The state after a step. What a callback changes in `latents` and the embeddings, the next step takes.
#[derive(Debug)]
#[non_exhaustive]
pub struct StepEnd {
    /// Number of the step, from 0.
    pub step: usize,
    /// Unshifted timestep that the model was told, in [0, 1000].
    pub timestep: f32,
    /// Noise level that the step began at, in [0, 1].
    pub sigma: f32,
    /// Latents after the step, `[B, C, H / s, W / s]` f32.
    pub latents: Tensor<4>,
    /// Embeddings of the prompts, one per picture.
    pub prompt_embeds: PromptEmbeds,
    /// Embeddings of the negative prompts; `None` without guidance.
    pub negative_prompt_embeds: Option<PromptEmbeds>,
}

impl Sampler<'_> {
    /// Runs all steps, or until the callback breaks off; gives the latents then.
    ///
    /// # Shapes
    /// `latents` and the result: `[B, C, H / s, W / s]` f32; `control_latents`, normalised: the same.
    ///
    /// # Errors
    /// A callback that changes a shape, or weights that have to be read and cannot.
    pub fn run(
        &self,
        latents: Tensor<4>,
        control_latents: Option<&Tensor<4>>,
        prompt_embeds: PromptEmbeds,
        negative_prompt_embeds: Option<PromptEmbeds>,
        on_step_end: &mut dyn FnMut(&mut StepEnd) -> ControlFlow<()>,
    ) -> Result<Tensor<4>> {
        let [batch, ..] = latents.dims();
        let shape = latents.dims();
        let (mut latents, mut prompt_embeds, mut negative_prompt_embeds) =
            (latents, prompt_embeds, negative_prompt_embeds);
        for (step, &timestep) in self.schedule.timesteps.iter().enumerate() {
            let input = [Some(&latents), control_latents].into_iter().flatten().cloned().collect();
            let input = Tensor::cat(input, 1).cast(self.dtype);
            let velocity = self.velocity(input, timestep, &prompt_embeds, negative_prompt_embeds.as_ref())?;
            latents = self.schedule.step(step, velocity, latents);
            let sigma = self.schedule.sigmas[step];
            let mut end = StepEnd { step, timestep, sigma, latents, prompt_embeds, negative_prompt_embeds };
            let flow = on_step_end(&mut end);
            StepEnd { latents, prompt_embeds, negative_prompt_embeds, .. } = end;
            if latents.dims() != shape {
                let reason = format!("the callback made shape {:?} of {shape:?}", latents.dims());
                return Err(PipelineError::bad_input("latents", reason));
            }
            let width = self.transformer.config().text_embed_dim;
            prompt_embeds.check("prompt_embeds", batch, width)?;
            negative_prompt_embeds
                .iter()
                .try_for_each(|embeds| embeds.check("negative_prompt_embeds", batch, width))?;
            if flow.is_break() {
                break;
            }
        }
        Ok(latents)
    }

    /// What the model predicts, guided; f32. With guidance there are two predictions, made in one pass over the model.
    fn velocity(
        &self,
        input: Tensor<4>,
        timestep: f32,
        prompt_embeds: &PromptEmbeds,
        negative_prompt_embeds: Option<&PromptEmbeds>,
    ) -> Result<Tensor<4>> {
        let [batch, ..] = input.dims();
        let (timesteps, sizes) = (vec![timestep; batch], vec![self.sizes; batch]);
        let inputs = |text: &PromptEmbeds| TransformerInputs {
            hidden_states: input.clone(),
            encoder_hidden_states: text.embeds.clone().cast(self.dtype),
            timesteps: &timesteps,
            sizes: &sizes,
            hidden_text: text.hidden.clone(),
        };
        let texts = [Some(prompt_embeds), negative_prompt_embeds];
        let outputs = self.transformer.forward_each(texts.into_iter().flatten().map(inputs).collect())?;
        let mut outputs = outputs.into_iter().map(|output| output.cast(DType::F32));
        let conditional = outputs.next().expect("invariant: an output for the prompt");
        Ok(match outputs.next() {
            None => conditional,
            Some(unconditional) => unconditional.clone() + (conditional - unconditional) * self.guidance_scale,
        })
    }
}

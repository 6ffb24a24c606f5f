//! The pipelines: prompts, and a control image for one of them, in; pictures out. Source:
//! `pipelines/cogview4/pipeline_cogview4_control.py` and `pipeline_cogview4.py` of diffusers 0.42.1.

mod components;
mod configs;
mod control;
mod convert;
mod folder;
mod loader;
mod model_folder;
mod noise;
mod output;
mod prompt;
mod request;
mod run;
mod sampler;
mod source;
mod task;

use std::{marker::PhantomData, ops::ControlFlow};

use cogview4_hub::Source;
use cogview4_model::AutoencoderKl;

use crate::error::Result;

pub use components::{ComponentParts, Components};
pub use configs::{InputChannels, PipelineConfigs};
pub use control::{Conditioning, Control, ControlImage, ControlLatents, ParseControlLatentsError};
pub use convert::convert;
pub use folder::{Component, PipelineFolder};
pub use loader::{PipelineLoader, TransformerSource};
pub use model_folder::ModelFolder;
pub use output::{CogView4PipelineOutput, OutputType};
pub use prompt::{Prompt, PromptEmbeds};
pub use request::{ControlRequest, MAX_GUIDANCE, MAX_IMAGES, MAX_STEPS, PipelineRequest, TextRequest};
pub use sampler::{Sampler, StepEnd};
pub use source::{PipelineSource, fetch_model};

/// Generates pictures from prompts and control images.
///
/// ```no_run
/// use cogview4_control_pipeline::{CannyDetector, CogView4ControlPipeline, ControlRequest, open_image};
///
/// let pipe = CogView4ControlPipeline::from_pretrained("THUDM/CogView4-6B")
///     .transformer("pose-control/checkpoint-10000/transformer")
///     .load()?;
/// let edges = CannyDetector::default().detect(&open_image("fox.png")?)?;
/// let output = pipe.generate(&ControlRequest::new("a red fox in the snow", edges).seed(42))?;
/// output.images[0].save("cogview4.png")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type CogView4ControlPipeline = DiffusionPipeline<Control>;

/// Generates pictures from prompts, with a base model.
///
/// ```no_run
/// use cogview4_control_pipeline::{CogView4Pipeline, TextRequest};
///
/// let pipe = CogView4Pipeline::from_pretrained("CogView4-6B").load()?;
/// let output = pipe.generate(&TextRequest::new(["a red fox in the snow", "a blue bird"]).seed(42))?;
/// output.images[1].save("bird.png")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type CogView4Pipeline = DiffusionPipeline<()>;

/// A pipeline that takes `C` beside text: see [`CogView4ControlPipeline`] and [`CogView4Pipeline`].
#[derive(Debug, Clone)]
pub struct DiffusionPipeline<C> {
    components: Components,
    conditioning: PhantomData<fn() -> C>,
}

impl<C: Conditioning> DiffusionPipeline<C> {
    /// Starts loading a pipeline from a folder in diffusers layout, or from the Hub if it is a name and no folder.
    pub fn from_pretrained(source: impl Into<Source>) -> PipelineLoader<C> {
        PipelineLoader::new(source.into())
    }

    /// A pipeline of models that are loaded already, another pipeline's for instance.
    ///
    /// # Errors
    /// Models that do not fit each other, or a transformer of the other kind of pipeline.
    pub fn from_components(components: Components) -> Result<Self> {
        components.check(control::input_channels::<C>())?;
        Ok(Self { components, conditioning: PhantomData })
    }

    /// The models.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// The autoencoder, to set its tiling and slicing:
    ///
    /// ```no_run
    /// # use cogview4_control_pipeline::CogView4Pipeline;
    /// let mut pipe = CogView4Pipeline::from_pretrained("CogView4-6B").load()?;
    /// pipe.vae_mut().enable_tiling();
    /// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
    /// ```
    pub fn vae_mut(&mut self) -> &mut AutoencoderKl {
        self.components.vae_mut()
    }

    /// Height and width of a picture for which none is asked, in pixels.
    pub fn default_size(&self) -> usize {
        self.components.configs().default_size()
    }

    /// Embeds prompts, to use them in several requests: `[B, S, text_embed_dim]`. Each text is embedded by itself;
    /// where lengths differ, pads in front line them up and are hidden. `strict_text_mask` hides each text's own pads
    /// too.
    ///
    /// # Errors
    /// [`PipelineError`](crate::PipelineError) for no text, or a `max_sequence_length` that leaves no room.
    ///
    /// ```no_run
    /// # use cogview4_control_pipeline::{CogView4Pipeline, TextRequest};
    /// # let pipe = CogView4Pipeline::from_pretrained("CogView4-6B").load()?;
    /// let embeds = pipe.encode_prompt("a red fox in the snow", 1024, false)?;
    /// for seed in 0..4 {
    ///     pipe.generate(&TextRequest::new(embeds.clone()).seed(seed))?;
    /// }
    /// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
    /// ```
    pub fn encode_prompt(
        &self,
        prompt: impl Into<Prompt>,
        max_sequence_length: usize,
        strict_text_mask: bool,
    ) -> Result<PromptEmbeds> {
        self.components.embeds(&prompt.into(), max_sequence_length, strict_text_mask)
    }

    /// Generates pictures.
    ///
    /// # Errors
    /// [`PipelineError::BadInput`](crate::PipelineError::BadInput) for a request that is out of range or does not fit
    /// the models.
    pub fn generate(&self, request: &PipelineRequest<C>) -> Result<CogView4PipelineOutput> {
        self.generate_with(request, |_| ControlFlow::Continue(()))
    }

    /// Generates pictures and calls back after each step. The callback may change latents and embeddings; when it
    /// breaks, no further step is made, and what the latents are by then is decoded.
    ///
    /// ```no_run
    /// # use cogview4_control_pipeline::{CogView4Pipeline, TextRequest};
    /// use std::ops::ControlFlow;
    ///
    /// # let pipe = CogView4Pipeline::from_pretrained("CogView4-6B").load()?;
    /// let output = pipe.generate_with(&TextRequest::new("a red fox"), |end| {
    ///     eprintln!("step {}, timestep {}, sigma {}", end.step, end.timestep, end.sigma);
    ///     if end.sigma < 0.2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// })?;
    /// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
    /// ```
    ///
    /// # Errors
    /// As [`generate`](Self::generate), and a callback that changes a shape.
    pub fn generate_with(
        &self,
        request: &PipelineRequest<C>,
        mut on_step_end: impl FnMut(&mut StepEnd) -> ControlFlow<()>,
    ) -> Result<CogView4PipelineOutput> {
        request.check()?;
        self.components.generate(request, &mut on_step_end)
    }
}

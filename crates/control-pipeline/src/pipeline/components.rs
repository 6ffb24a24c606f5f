//! The models of a pipeline, loaded.

use burn::tensor::{DType, Device, Tensor, TensorData};
use cogview4_model::{AutoencoderKl, CogView4Transformer, FlowMatchEulerSchedulerConfig, GlmModel, memory::trim_heap};

use super::{Component, InputChannels, PipelineConfigs, Prompt, PromptEmbeds};
use crate::{
    error::Result,
    plan::{DrawingPlan, Placement},
    tokenizer::PromptTokenizer,
};

/// The models of a pipeline, loaded; they can be shared by several pipelines, as copies share their weights.
#[derive(Debug, Clone)]
pub struct Components(ComponentParts, Option<DrawingPlan>);

/// What [`Components`] are made of.
#[derive(Debug, Clone)]
pub struct ComponentParts {
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

impl Components {
    /// Models that were loaded one by one; [`from_components`](crate::DiffusionPipeline::from_components) checks that
    /// they fit each other.
    pub fn new(parts: ComponentParts) -> Self {
        Self(parts, None)
    }

    /// The same models, loaded as a plan says.
    pub(super) fn planned(self, plan: Option<DrawingPlan>) -> Self {
        Self(self.0, plan)
    }

    /// Whether a budget is kept to.
    pub(super) fn check_memory(&self, stage: &str) -> Result<()> {
        self.1.as_ref().map_or(Ok(()), |plan| plan.check_held(stage))
    }

    /// After a stage whose blocks may have been streamed: gives their memory back, and checks the budget.
    pub(super) fn end_stage(&self, stage: &str) -> Result<()> {
        if self.1.as_ref().is_some_and(|plan| plan.settings.placement != Placement::Resident) {
            trim_heap();
        }
        self.check_memory(stage)
    }

    /// Prompts to ids.
    pub fn tokenizer(&self) -> &PromptTokenizer {
        &self.0.tokenizer
    }

    /// Ids to embeddings.
    pub fn text_encoder(&self) -> &GlmModel {
        &self.0.text_encoder
    }

    /// Pictures to latents and back.
    pub fn vae(&self) -> &AutoencoderKl {
        &self.0.vae
    }

    /// The diffusion transformer.
    pub fn transformer(&self) -> &CogView4Transformer {
        &self.0.transformer
    }

    /// Noise levels.
    pub fn scheduler(&self) -> &FlowMatchEulerSchedulerConfig {
        &self.0.scheduler
    }

    /// Where all of it is.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Number type of the models.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    pub(super) fn vae_mut(&mut self) -> &mut AutoencoderKl {
        &mut self.0.vae
    }

    pub(super) fn shows_progress(&self) -> bool {
        self.0.progress_bar
    }

    /// The configurations of the models.
    pub(super) fn configs(&self) -> PipelineConfigs {
        PipelineConfigs {
            scheduler: self.0.scheduler.clone(),
            text_encoder: self.0.text_encoder.config().clone(),
            vae: self.0.vae.config().clone(),
            transformer: self.0.transformer.config().clone(),
        }
    }

    /// Checks that the models fit each other.
    pub(super) fn check(&self, channels: InputChannels) -> Result<()> {
        self.configs().check(channels, |component| match component {
            Component::Transformer => "the given transformer".into(),
            _ => format!("the given {}", component.name()).into(),
        })
    }

    /// Embeddings, one per prompt; each text goes through the text encoder alone.
    pub(super) fn embeds(&self, prompt: &Prompt, max_sequence_length: usize, strict: bool) -> Result<PromptEmbeds> {
        let [embeds] = self.embeds_each([prompt], max_sequence_length, strict)?;
        Ok(embeds)
    }

    /// As [`embeds`](Self::embeds), of several sets of prompts in one pass over the text encoder.
    pub(super) fn embeds_each<const N: usize>(
        &self,
        prompts: [&Prompt; N],
        max_sequence_length: usize,
        strict: bool,
    ) -> Result<[PromptEmbeds; N]> {
        let texts = prompts.iter().flat_map(|prompt| match prompt {
            Prompt::Texts(texts) => texts.as_slice(),
            Prompt::Embeds(_) => &[],
        });
        let tokenize = |text: &String| {
            let tokens = self.0.tokenizer.encode(text, max_sequence_length)?;
            self.0.text_encoder.check_ids(&tokens.ids)?;
            Ok(tokens)
        };
        let tokens = texts.map(tokenize).collect::<Result<Vec<_>>>()?;
        let ids: Vec<&[u32]> = tokens.iter().map(|tokens| tokens.ids.as_slice()).collect();
        let outputs = self.0.text_encoder.forward_each(&ids)?;
        let mut encoded = tokens.iter().zip(outputs).map(|(tokens, embeds)| {
            let hidden = strict.then(|| {
                let hidden: Vec<bool> = (0..tokens.ids.len()).map(|index| index < tokens.pads).collect();
                Tensor::from_data(TensorData::new(hidden, [1, tokens.ids.len()]), &self.0.device)
            });
            PromptEmbeds { embeds, hidden }
        });
        Ok(prompts.map(|prompt| match prompt {
            Prompt::Texts(texts) => PromptEmbeds::stack(encoded.by_ref().take(texts.len()).collect()),
            Prompt::Embeds(PromptEmbeds { embeds, hidden }) => PromptEmbeds {
                embeds: embeds.clone().to_device(&self.0.device).cast(self.0.dtype),
                hidden: hidden.clone().map(|hidden| hidden.to_device(&self.0.device)),
            },
        }))
    }
}

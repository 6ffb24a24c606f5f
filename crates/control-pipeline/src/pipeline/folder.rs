//! A pipeline's folder in diffusers layout: where its components are, and what their configurations say of each other.
//!
//! Generation, training and checks of data all open pipelines here, so that all have the same rules.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use cogview4_model::{
    AutoencoderKl, AutoencoderKlConfig, CogView4Transformer, CogView4TransformerConfig, FlowMatchEulerSchedulerConfig,
    GlmConfig, GlmModel,
    files::{MAX_CONFIG_BYTES, read_text},
    weights::{DIFFUSION_WEIGHTS, TRANSFORMERS_WEIGHTS, WeightFiles, WeightOptions},
};

use super::{InputChannels, PipelineConfigs};
use crate::{
    error::{PipelineError, Result},
    tokenizer::PromptTokenizer,
};

/// A part of a pipeline that has a folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The diffusion transformer.
    Transformer,
    /// Pictures to latents and back.
    Vae,
    /// Token ids to embeddings.
    TextEncoder,
    /// Prompts to token ids.
    Tokenizer,
    /// Noise levels.
    Scheduler,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Transformer, Self::Vae, Self::TextEncoder, Self::Tokenizer, Self::Scheduler];

    /// The name of the folder, and of the entry in `model_index.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transformer => "transformer",
            Self::Vae => "vae",
            Self::TextEncoder => "text_encoder",
            Self::Tokenizer => "tokenizer",
            Self::Scheduler => "scheduler",
        }
    }

    /// The name of its weight files, without what follows it, if it has weights.
    const fn weights(self) -> Option<&'static str> {
        match self {
            Self::Transformer | Self::Vae => Some(DIFFUSION_WEIGHTS),
            Self::TextEncoder => Some(TRANSFORMERS_WEIGHTS),
            Self::Tokenizer | Self::Scheduler => None,
        }
    }
}

/// A pipeline's folder; single components may be elsewhere. Nothing is read before a method that says so.
///
/// ```
/// use cogview4_control_pipeline::{Component, PipelineFolder};
///
/// let folder = PipelineFolder::new("CogView4-6B").with(Component::Transformer, "checkpoint-500/transformer");
/// assert_eq!(folder.component(Component::Vae), folder.root().join("vae"));
/// assert_eq!(folder.config_path(Component::Transformer).to_str(), Some("checkpoint-500/transformer/config.json"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineFolder {
    root: PathBuf,
    overrides: BTreeMap<Component, PathBuf>,
    variant: Option<String>,
}

impl PipelineFolder {
    /// The pipeline in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { root: folder.into(), overrides: BTreeMap::new(), variant: None }
    }

    /// Takes a component from another folder; the pipeline's own is then not needed.
    #[must_use]
    pub fn with(mut self, component: Component, folder: impl Into<PathBuf>) -> Self {
        self.overrides.insert(component, folder.into());
        self
    }

    /// Takes the weights of a variant, such as `fp16`, of each component that has it.
    #[must_use]
    pub fn with_variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// The variant that a component's weights are taken of.
    pub fn variant_of(&self, component: Component) -> Option<&str> {
        let (variant, stem) = (self.variant.as_deref()?, component.weights()?);
        WeightFiles::has_variant(&self.component(component), stem, variant).then_some(variant)
    }

    /// The pipeline's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a component.
    pub fn component(&self, component: Component) -> PathBuf {
        self.overrides.get(&component).cloned().unwrap_or_else(|| self.root.join(component.name()))
    }

    /// The configuration of a component.
    pub fn config_path(&self, component: Component) -> PathBuf {
        let name = match component {
            Component::Scheduler => "scheduler_config.json",
            Component::Tokenizer => "tokenizer_config.json",
            Component::Transformer | Component::Vae | Component::TextEncoder => "config.json",
        };
        self.component(component).join(name)
    }

    /// Reads `model_index.json` and all configurations, and checks that they fit each other.
    ///
    /// # Errors
    /// A missing or broken file, another kind of pipeline, or components that do not fit each other; names the file.
    pub fn read_configs(&self, channels: InputChannels) -> Result<PipelineConfigs> {
        self.check_model_index()?;
        let transformer = CogView4TransformerConfig::load(&self.config_path(Component::Transformer))?;
        let configs = self.read_beside(transformer)?;
        configs.check(channels, |component| self.config_path(component))?;
        self.check_variant()?;
        Ok(configs)
    }

    /// As [`read_configs`](Self::read_configs), with a transformer that is loaded already.
    pub(super) fn read_configs_for(
        &self,
        transformer: &CogView4Transformer,
        channels: InputChannels,
    ) -> Result<PipelineConfigs> {
        self.check_model_index()?;
        let configs = self.read_beside(transformer.config().clone())?;
        configs.check(channels, |component| match component {
            Component::Transformer => "the given transformer".into(),
            _ => self.config_path(component),
        })?;
        self.check_variant()?;
        Ok(configs)
    }

    /// A component without the variant has its other weights taken, but one must have it.
    fn check_variant(&self) -> Result<()> {
        let Some(variant) = &self.variant else { return Ok(()) };
        if variant.is_empty() || !variant.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            return Err(PipelineError::bad_input("variant", format!("`{variant}` is not a name such as `fp16`")));
        }
        let components = [Component::Transformer, Component::Vae, Component::TextEncoder];
        if components.into_iter().all(|component| self.variant_of(component).is_none()) {
            let reason = format!("no component has weights of the variant `{variant}`");
            return Err(PipelineError::component(&self.root, reason));
        }
        Ok(())
    }

    fn read_beside(&self, transformer: CogView4TransformerConfig) -> Result<PipelineConfigs> {
        Ok(PipelineConfigs {
            scheduler: FlowMatchEulerSchedulerConfig::load(&self.config_path(Component::Scheduler))?,
            text_encoder: GlmConfig::load(&self.config_path(Component::TextEncoder))?,
            vae: AutoencoderKlConfig::load(&self.config_path(Component::Vae))?,
            transformer,
        })
    }

    /// Loads the tokenizer.
    ///
    /// # Errors
    /// As [`PromptTokenizer::load`].
    pub fn load_tokenizer(&self) -> Result<PromptTokenizer> {
        PromptTokenizer::load(&self.component(Component::Tokenizer))
    }

    /// Loads the autoencoder; the folder knows the variant.
    ///
    /// # Errors
    /// As [`AutoencoderKl::load`].
    pub fn load_vae(&self, options: &WeightOptions) -> Result<AutoencoderKl> {
        let options = self.options(Component::Vae, options);
        Ok(AutoencoderKl::load_with(&self.component(Component::Vae), &options)?)
    }

    /// Loads the text encoder; the folder knows the variant.
    ///
    /// # Errors
    /// As [`GlmModel::load`].
    pub fn load_text_encoder(&self, options: &WeightOptions) -> Result<GlmModel> {
        let options = self.options(Component::TextEncoder, options);
        Ok(GlmModel::load_with(&self.component(Component::TextEncoder), &options)?)
    }

    /// Loads the transformer; the folder knows the variant.
    ///
    /// # Errors
    /// As [`CogView4Transformer::load`].
    pub fn load_transformer(&self, options: &WeightOptions) -> Result<CogView4Transformer> {
        let options = self.options(Component::Transformer, options);
        Ok(CogView4Transformer::load_with(&self.component(Component::Transformer), &options)?)
    }

    fn options(&self, component: Component, options: &WeightOptions) -> WeightOptions {
        WeightOptions { variant: self.variant_of(component).map(Into::into), ..options.clone() }
    }

    /// Checks that the folder is a CogView4 pipeline.
    fn check_model_index(&self) -> Result<()> {
        if !self.root.is_dir() {
            return Err(PipelineError::component(&self.root, "no such folder"));
        }
        let path = self.root.join("model_index.json");
        let fail = |reason: String| Err(PipelineError::component(&path, reason));
        let text = match read_text(&path, MAX_CONFIG_BYTES) {
            Ok(text) => text,
            Err(error) => return fail(format!("cannot be read: {error}")),
        };
        let index: serde_json::Value = match serde_json::from_str(&text) {
            Ok(index) => index,
            Err(error) => return fail(format!("not valid JSON: {error}")),
        };
        match index["_class_name"].as_str() {
            Some("CogView4ControlPipeline" | "CogView4Pipeline") => Ok(()),
            Some(other) => fail(format!("describes a `{other}`, expected a `CogView4ControlPipeline`")),
            None => fail("has no `_class_name`".into()),
        }
    }
}

//! Loading a pipeline's folder: all configurations are read and compared before the first weight is.

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
};

use cogview4_model::{
    AutoencoderKl, AutoencoderKlConfig, CogView4Transformer, CogView4TransformerConfig, ComputeDtype, DeviceSpec,
    FlowMatchEulerSchedulerConfig, GlmConfig, GlmModel,
};

use super::{
    Components, Conditioning, DiffusionPipeline,
    components::{Configs, default_size},
};
use crate::{
    error::{PipelineError, Result},
    tokenizer::PromptTokenizer,
};

/// Options of [`from_pretrained`](DiffusionPipeline::from_pretrained); [`load`](Self::load) does the work.
#[derive(Debug)]
#[must_use = "call `load` to get the pipeline"]
pub struct PipelineLoader<C> {
    folder: PathBuf,
    transformer: TransformerSource,
    device: DeviceSpec,
    dtype: ComputeDtype,
    progress_bar: bool,
    conditioning: PhantomData<fn() -> C>,
}

/// Where a transformer comes from that replaces the pipeline's own.
#[derive(Debug)]
pub enum TransformerSource {
    /// A component folder, such as `checkpoint-500/transformer`.
    Folder(PathBuf),
    /// A transformer that is loaded already.
    Loaded(Box<CogView4Transformer>),
}

impl From<&Path> for TransformerSource {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.into())
    }
}

impl From<PathBuf> for TransformerSource {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl From<&str> for TransformerSource {
    fn from(folder: &str) -> Self {
        Self::Folder(folder.into())
    }
}

impl From<CogView4Transformer> for TransformerSource {
    fn from(transformer: CogView4Transformer) -> Self {
        Self::Loaded(Box::new(transformer))
    }
}

impl<C: Conditioning> PipelineLoader<C> {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            transformer: folder.join("transformer").into(),
            device: DeviceSpec::default(),
            dtype: ComputeDtype::default(),
            progress_bar: true,
            conditioning: PhantomData,
        }
    }

    /// Replaces the component `transformer`, whose own folder is then not needed.
    pub fn transformer(mut self, source: impl Into<TransformerSource>) -> Self {
        self.transformer = source.into();
        self
    }

    /// Where to compute.
    pub fn device(mut self, device: DeviceSpec) -> Self {
        self.device = device;
        self
    }

    /// The number type of weights and activations.
    pub fn dtype(mut self, dtype: ComputeDtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Whether sampling shows its progress on standard error, where that is a terminal. On by default.
    pub fn progress_bar(mut self, show: bool) -> Self {
        self.progress_bar = show;
        self
    }

    /// Height and width of a picture for which none is asked, in pixels; reads configurations only.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for the weights and the tokenizer.
    pub fn default_size(&self) -> Result<usize> {
        let configs = self.read_configs()?;
        Ok(default_size(&configs.transformer, &configs.vae))
    }

    /// Loads the pipeline.
    ///
    /// # Errors
    /// A missing or broken folder or file, components that do not fit each other, a base model where a control model is
    /// needed or the other way round, or a device that is not there.
    pub fn load(self) -> Result<DiffusionPipeline<C>> {
        let configs = self.read_configs()?;
        let tokenizer = PromptTokenizer::load(&self.component("tokenizer"))?;
        let (device, dtype) = (self.device.open()?, self.dtype.dtype());
        DiffusionPipeline::from_components(Components {
            tokenizer,
            vae: AutoencoderKl::load(&self.component("vae"), dtype, &device)?,
            text_encoder: GlmModel::load(&self.component("text_encoder"), dtype, &device)?,
            transformer: match self.transformer {
                TransformerSource::Folder(folder) => CogView4Transformer::load(&folder, dtype, &device)?,
                TransformerSource::Loaded(transformer) => *transformer,
            },
            scheduler: configs.scheduler,
            device,
            dtype,
            progress_bar: self.progress_bar,
        })
    }

    fn component(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Reads all configurations and checks that they fit each other.
    fn read_configs(&self) -> Result<ConfigFiles> {
        check_model_index(&self.folder)?;
        let (transformer, transformer_at) = match &self.transformer {
            TransformerSource::Folder(folder) => {
                let path = folder.join("config.json");
                (CogView4TransformerConfig::load(&path)?, path)
            }
            TransformerSource::Loaded(transformer) => (transformer.config().clone(), "the given transformer".into()),
        };
        let configs = ConfigFiles {
            scheduler: FlowMatchEulerSchedulerConfig::load(&self.component("scheduler").join("scheduler_config.json"))?,
            text_encoder: GlmConfig::load(&self.component("text_encoder").join("config.json"))?,
            vae: AutoencoderKlConfig::load(&self.component("vae").join("config.json"))?,
            transformer,
        };
        let ConfigFiles { text_encoder, vae, transformer, .. } = &configs;
        Configs { text_encoder, vae, transformer }.check(C::HAS_CONTROL, &transformer_at)?;
        Ok(configs)
    }
}

struct ConfigFiles {
    scheduler: FlowMatchEulerSchedulerConfig,
    text_encoder: GlmConfig,
    vae: AutoencoderKlConfig,
    transformer: CogView4TransformerConfig,
}

/// Checks that the folder is a CogView4 pipeline.
fn check_model_index(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Err(PipelineError::component(folder, "no such folder"));
    }
    let path = folder.join("model_index.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| PipelineError::component(&path, format!("cannot be read: {error}")))?;
    let index: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| PipelineError::component(&path, format!("not valid JSON: {error}")))?;
    match index["_class_name"].as_str() {
        Some("CogView4ControlPipeline" | "CogView4Pipeline") => Ok(()),
        Some(other) => {
            Err(PipelineError::component(path, format!("describes a `{other}`, expected a `CogView4ControlPipeline`")))
        }
        None => Err(PipelineError::component(path, "has no `_class_name`")),
    }
}

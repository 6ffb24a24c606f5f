//! Loading a pipeline's folder: all configurations are read and compared before the first weight is.

use std::path::{Path, PathBuf};

use cogview4_model::{
    AutoencoderKl, AutoencoderKlConfig, CogView4Transformer, CogView4TransformerConfig, ComputeDtype, DeviceSpec,
    FlowMatchEulerSchedulerConfig, GlmConfig, GlmModel,
};

use super::{CogView4ControlPipeline, default_size};
use crate::{
    error::{PipelineError, Result},
    tokenizer::PromptTokenizer,
};

/// Options of [`CogView4ControlPipeline::from_pretrained`]; [`load`](Self::load) does the work.
#[derive(Debug)]
#[must_use = "call `load` to get the pipeline"]
pub struct PipelineLoader {
    folder: PathBuf,
    transformer: TransformerSource,
    device: DeviceSpec,
    dtype: ComputeDtype,
    progress_bar: bool,
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

impl PipelineLoader {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            transformer: folder.join("transformer").into(),
            device: DeviceSpec::default(),
            dtype: ComputeDtype::default(),
            progress_bar: true,
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
    /// A missing or broken folder or file, components that do not fit each other, a transformer that is not a control
    /// model, or a device that is not there.
    pub fn load(self) -> Result<CogView4ControlPipeline> {
        let configs = self.read_configs()?;
        let tokenizer = PromptTokenizer::load(&self.component("tokenizer"))?;
        let (device, dtype) = (self.device.open()?, self.dtype.dtype());
        Ok(CogView4ControlPipeline {
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
    fn read_configs(&self) -> Result<Configs> {
        check_model_index(&self.folder)?;
        let (transformer, transformer_at) = match &self.transformer {
            TransformerSource::Folder(folder) => {
                let path = folder.join("config.json");
                (CogView4TransformerConfig::load(&path)?, path)
            }
            TransformerSource::Loaded(transformer) => (transformer.config().clone(), "the given transformer".into()),
        };
        let configs = Configs {
            scheduler: FlowMatchEulerSchedulerConfig::load(&self.component("scheduler").join("scheduler_config.json"))?,
            text_encoder: GlmConfig::load(&self.component("text_encoder").join("config.json"))?,
            vae: AutoencoderKlConfig::load(&self.component("vae").join("config.json"))?,
            transformer,
        };
        configs.check(&transformer_at)?;
        Ok(configs)
    }
}

struct Configs {
    scheduler: FlowMatchEulerSchedulerConfig,
    text_encoder: GlmConfig,
    vae: AutoencoderKlConfig,
    transformer: CogView4TransformerConfig,
}

impl Configs {
    /// Compares what the components say of each other.
    fn check(&self, transformer_at: &Path) -> Result<()> {
        let Self { text_encoder, vae, transformer, .. } = self;
        let fail = |reason: String| Err(PipelineError::component(transformer_at, reason));
        if transformer.in_channels == vae.latent_channels {
            return fail(format!(
                "`in_channels` is {}: a base model, but a control model ({} channels) is needed",
                transformer.in_channels,
                2 * vae.latent_channels
            ));
        }
        if transformer.in_channels != 2 * vae.latent_channels {
            return fail(format!(
                "`in_channels` is {}, but the VAE's `latent_channels` {} ask for twice as many as those",
                transformer.in_channels, vae.latent_channels
            ));
        }
        if transformer.out_channels != vae.latent_channels {
            return fail(format!(
                "`out_channels` is {}, but the VAE's `latent_channels` is {}",
                transformer.out_channels, vae.latent_channels
            ));
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

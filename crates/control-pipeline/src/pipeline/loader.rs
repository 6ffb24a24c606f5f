//! Loading a pipeline's folder: all configurations are read and compared before the first weight is.

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
};

use cogview4_model::{CogView4Transformer, ComputeDtype, DeviceSpec};

use super::{
    Component, ComponentParts, Components, Conditioning, DiffusionPipeline, PipelineConfigs, PipelineFolder,
    control::input_channels,
};
use crate::error::Result;

/// Options of [`from_pretrained`](DiffusionPipeline::from_pretrained); [`load`](Self::load) does the work.
#[derive(Debug)]
#[must_use = "call `load` to get the pipeline"]
pub struct PipelineLoader<C> {
    folder: PipelineFolder,
    /// Taken instead of the folder's.
    transformer: Option<Box<CogView4Transformer>>,
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
            folder: PipelineFolder::new(folder),
            transformer: None,
            device: DeviceSpec::default(),
            dtype: ComputeDtype::default(),
            progress_bar: true,
            conditioning: PhantomData,
        }
    }

    /// Replaces the component `transformer`, whose own folder is then not needed.
    pub fn transformer(mut self, source: impl Into<TransformerSource>) -> Self {
        match source.into() {
            TransformerSource::Folder(folder) => {
                self.folder = self.folder.with(Component::Transformer, folder);
                self.transformer = None;
            }
            TransformerSource::Loaded(transformer) => self.transformer = Some(transformer),
        }
        self
    }

    /// Takes the weights of a variant, such as `fp16`, of each component that has it.
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.folder = self.folder.with_variant(variant);
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
        Ok(self.read_configs()?.default_size())
    }

    /// Loads the pipeline.
    ///
    /// # Errors
    /// A missing or broken folder or file, components that do not fit each other, a base model where a control model is
    /// needed or the other way round, or a device that is not there.
    pub fn load(self) -> Result<DiffusionPipeline<C>> {
        let configs = self.read_configs()?;
        let tokenizer = self.folder.load_tokenizer()?;
        let (device, dtype) = (self.device.open()?, self.dtype.dtype());
        DiffusionPipeline::from_components(Components::new(ComponentParts {
            tokenizer,
            vae: self.folder.load_vae(dtype, &device)?,
            text_encoder: self.folder.load_text_encoder(dtype, &device)?,
            transformer: match self.transformer {
                Some(transformer) => *transformer,
                None => self.folder.load_transformer(dtype, &device)?,
            },
            scheduler: configs.scheduler,
            device,
            dtype,
            progress_bar: self.progress_bar,
        }))
    }

    /// Reads all configurations and checks that they fit each other.
    fn read_configs(&self) -> Result<PipelineConfigs> {
        let channels = input_channels::<C>();
        match &self.transformer {
            Some(transformer) => self.folder.read_configs_for(transformer, channels),
            None => self.folder.read_configs(channels),
        }
    }
}

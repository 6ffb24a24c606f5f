//! Loading a pipeline's folder: all configurations are read and compared before the first weight is.

mod planning;

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use cogview4_hub::{Hub, Source};
use cogview4_model::{
    CogView4Transformer, ComputeDtype, DeviceSpec,
    vae::VaeTiling,
    weights::{Int8, WeightOptions},
};

use super::{
    Component, ComponentParts, Components, Conditioning, DiffusionPipeline, PipelineConfigs, PipelineFolder,
    PipelineRequest, PipelineSource, control::input_channels,
};
use crate::{
    error::{PipelineError, Result},
    plan::{DrawingPlan, DrawingSettings, Placement, WeightStorage},
    tokenizer::PromptTokenizer,
};

/// Options of [`from_pretrained`](DiffusionPipeline::from_pretrained); [`load`](Self::load) does the work.
#[derive(Debug)]
#[must_use = "call `load` to get the pipeline"]
pub struct PipelineLoader<C> {
    source: PipelineSource,
    found: Found,
    /// Taken instead of the source's.
    transformer: Option<Box<CogView4Transformer>>,
    settings: DrawingSettings,
    progress_bar: bool,
    conditioning: PhantomData<fn() -> C>,
}

/// The source on the disk and what was read of it, once it was needed: plans and loading ask for the same.
#[derive(Debug, Default)]
struct Found {
    folder: OnceLock<PipelineFolder>,
    tokenizer: OnceLock<PromptTokenizer>,
}

/// Where a transformer comes from that replaces the pipeline's own.
#[derive(Debug)]
pub enum TransformerSource {
    /// A component folder, such as `checkpoint-500/transformer`, or a name on the Hub.
    Source(Source),
    /// A transformer that is loaded already.
    Loaded(Box<CogView4Transformer>),
}

impl From<Source> for TransformerSource {
    fn from(source: Source) -> Self {
        Self::Source(source)
    }
}

impl From<&Path> for TransformerSource {
    fn from(folder: &Path) -> Self {
        Source::from(folder).into()
    }
}

impl From<PathBuf> for TransformerSource {
    fn from(folder: PathBuf) -> Self {
        Source::from(folder).into()
    }
}

impl From<&str> for TransformerSource {
    fn from(name: &str) -> Self {
        Source::from(name).into()
    }
}

impl From<CogView4Transformer> for TransformerSource {
    fn from(transformer: CogView4Transformer) -> Self {
        Self::Loaded(Box::new(transformer))
    }
}

impl<C: Conditioning> PipelineLoader<C> {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source: PipelineSource::new(source),
            found: Found::default(),
            transformer: None,
            settings: DrawingSettings::default(),
            progress_bar: true,
            conditioning: PhantomData,
        }
    }

    /// Replaces the component `transformer`, whose own folder is then not needed.
    pub fn transformer(mut self, source: impl Into<TransformerSource>) -> Self {
        match source.into() {
            TransformerSource::Source(source) => {
                self.source.transformer = Some(source);
                self.transformer = None;
            }
            TransformerSource::Loaded(transformer) => self.transformer = Some(transformer),
        }
        self.found = Found::default();
        self
    }

    /// Takes the weights of a variant, such as `fp16`, of each component that has it.
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.source.variant = Some(variant.into());
        self.found = Found::default();
        self
    }

    /// Branch, tag or commit of a pipeline that is on the Hub.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.source.pipeline = self.source.pipeline.with_revision(Some(revision.into()));
        self.found = Found::default();
        self
    }

    /// The Hub that names are of, with its cache and token.
    pub fn hub(mut self, hub: Hub) -> Self {
        self.source.hub = hub;
        self.found = Found::default();
        self
    }

    /// Where to compute.
    pub fn device(mut self, device: DeviceSpec) -> Self {
        self.settings.device = device;
        self
    }

    /// The number type of weights and activations.
    pub fn dtype(mut self, dtype: ComputeDtype) -> Self {
        self.settings.dtype = dtype;
        self
    }

    /// Where the blocks are while pictures are drawn; the pictures are the same, byte for byte.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.settings.placement = placement;
        self
    }

    /// How the matrices in the blocks of transformer and text encoder are held: in 8 bits they take half the memory of
    /// bfloat16, and differ by half a percent. Where files hold them so, they always are.
    pub fn weights(mut self, weights: WeightStorage) -> Self {
        self.settings.weights = weights;
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

    /// Loads the pipeline. A budget keeps as many blocks in memory as a picture of the default size leaves room for.
    ///
    /// # Errors
    /// A missing or broken folder or file, components that do not fit each other, a base model where a control model is
    /// needed or the other way round, or a device that is not there.
    pub fn load(self) -> Result<DiffusionPipeline<C>> {
        let plan = match self.settings.placement {
            Placement::Resident => None,
            Placement::Streamed | Placement::Budget(_) => Some(self.default_planner()?.plan(&self.settings)),
        };
        self.load_planned(plan)
    }

    /// As [`load`](Self::load), to draw such a request: it is planned first, refused where it does not fit, and decides
    /// how many blocks a budget has room for.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`PipelineError::Memory`](crate::PipelineError::Memory) for too little memory.
    pub fn load_for(self, request: &PipelineRequest<C>) -> Result<DiffusionPipeline<C>> {
        let planner = self.planner(request)?;
        let plan = planner.plan(&self.settings);
        if !plan.fits() {
            return Err(PipelineError::Memory(planner.refusal(&plan)));
        }
        self.load_as(plan)
    }

    /// As [`load`](Self::load), with the settings of a plan that one has made already.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_as(mut self, plan: DrawingPlan) -> Result<DiffusionPipeline<C>> {
        self.settings = plan.settings;
        self.load_planned(Some(plan))
    }

    fn load_planned(self, plan: Option<DrawingPlan>) -> Result<DiffusionPipeline<C>> {
        let configs = self.read_configs()?;
        let folder = self.folder()?.clone();
        let tokenizer = self.tokenizer()?.clone();
        let settings = self.settings;
        let (device, dtype) = (settings.device.open()?, settings.dtype.dtype());
        let int8 = match settings.weights {
            WeightStorage::Computed => Int8::AsStored,
            WeightStorage::Int8 => Int8::Always,
        };
        let options = WeightOptions { is_mapped: true, int8, ..WeightOptions::new(dtype, &device) };
        let blocks = |resident_blocks| WeightOptions { resident_blocks, ..options.clone() };
        // Without a plan all blocks stay in memory.
        let [transformer, text_encoder] = plan.as_ref().map_or([None; 2], |plan| plan.resident_blocks.map(Some));
        let mut vae = folder.load_vae(&options)?;
        if let Some(side) = settings.vae_tile {
            vae.set_tiling(Some(VaeTiling::new(side, vae.config().scale_factor())));
        }
        let components = Components::new(ComponentParts {
            tokenizer,
            vae,
            text_encoder: folder.load_text_encoder(&blocks(text_encoder))?,
            transformer: match self.transformer {
                Some(transformer) => *transformer,
                None => folder.load_transformer(&blocks(transformer))?,
            },
            scheduler: configs.scheduler,
            device,
            dtype,
            progress_bar: self.progress_bar,
        });
        DiffusionPipeline::from_components(components.planned(plan))
    }

    /// Reads all configurations and checks that they fit each other.
    fn read_configs(&self) -> Result<PipelineConfigs> {
        let channels = input_channels::<C>();
        match &self.transformer {
            Some(transformer) => self.folder()?.read_configs_for(transformer, channels),
            None => self.folder()?.read_configs(channels),
        }
    }

    /// The source on the disk; a name is asked for once, so that its commit cannot change on the way.
    fn folder(&self) -> Result<&PipelineFolder> {
        if let Some(folder) = self.found.folder.get() {
            return Ok(folder);
        }
        let folder = self.source.fetch(&self.components())?;
        Ok(self.found.folder.get_or_init(|| folder))
    }

    fn tokenizer(&self) -> Result<&PromptTokenizer> {
        if let Some(tokenizer) = self.found.tokenizer.get() {
            return Ok(tokenizer);
        }
        let tokenizer = self.folder()?.load_tokenizer()?;
        Ok(self.found.tokenizer.get_or_init(|| tokenizer))
    }

    /// The components that come from the source.
    fn components(&self) -> Vec<Component> {
        let needed = |component: &Component| *component != Component::Transformer || self.transformer.is_none();
        Component::ALL.into_iter().filter(needed).collect()
    }
}

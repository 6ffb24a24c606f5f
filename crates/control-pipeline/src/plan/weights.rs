//! Bytes of the weights, from the headers of their files.

use std::path::{Path, PathBuf};

use cogview4_model::{
    ComputeDtype, GlmConfig,
    ops::BLOCK_VALUES,
    weights::{DIFFUSION_WEIGHTS, SCALE_SUFFIX, TRANSFORMERS_WEIGHTS, WeightFiles, block_index},
};

use super::{DrawingSettings, WeightStorage};
use crate::{
    error::Result,
    pipeline::{Component, PipelineFolder},
};

/// Keys of the transformer's blocks.
const BLOCKS: &str = "transformer_blocks";
/// Keys of the text encoder's layers, behind a prefix that some files have.
const LAYERS: &str = "layers";

/// A tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its key.
    pub key: String,
    /// Its type as safetensors calls it, such as `BF16`.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// The tensors of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComponentWeights {
    /// All tensors, in any order.
    pub tensors: Vec<StoredTensor>,
    /// The files that hold them.
    pub files: Vec<PathBuf>,
}

/// The tensors of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipelineWeights {
    /// The diffusion transformer.
    pub transformer: ComponentWeights,
    /// The text encoder.
    pub text_encoder: ComponentWeights,
    /// The autoencoder.
    pub vae: ComponentWeights,
}

impl PipelineWeights {
    /// Reads the headers of the weight files of some components; others count as nothing.
    ///
    /// # Errors
    /// A file that is missing or broken.
    pub fn read(folder: &PipelineFolder, components: &[Component]) -> Result<Self> {
        let read = |component: Component, stem: &str| -> Result<ComponentWeights> {
            if !components.contains(&component) {
                return Ok(ComponentWeights::default());
            }
            let variant = folder.variant_of(component);
            Ok(ComponentWeights::of(&WeightFiles::open_variant(&folder.component(component), stem, variant)?))
        };
        Ok(Self {
            transformer: read(Component::Transformer, DIFFUSION_WEIGHTS)?,
            text_encoder: read(Component::TextEncoder, TRANSFORMERS_WEIGHTS)?,
            vae: read(Component::Vae, DIFFUSION_WEIGHTS)?,
        })
    }

    /// The largest of all files.
    pub(super) fn largest_file(&self) -> Option<PathBuf> {
        let files = [&self.transformer, &self.text_encoder, &self.vae].into_iter().flat_map(|part| &part.files);
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        files.max_by_key(|path| size(path)).cloned()
    }
}

impl ComponentWeights {
    /// The tensors of weight files.
    pub fn of(files: &WeightFiles) -> Self {
        let mut found = Self::default();
        for (key, dtype, shape, path) in files.headers() {
            found.tensors.push(StoredTensor { key: key.into(), dtype, shape: shape.to_vec() });
            if found.files.last().is_none_or(|last| last != path) {
                found.files.push(path.into());
            }
        }
        found.files.sort();
        found.files.dedup();
        found
    }
}

/// Bytes of weights by where they would be with some settings, and in their files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    /// In memory of their own: the host's, or the device's.
    pub(super) own: u64,
    /// Used where the map of their file has them.
    pub(super) mapped: u64,
    /// In their files.
    pub(super) stored: u64,
}

impl Bytes {
    /// In memory of their own, all of them.
    fn held(&self) -> u64 {
        self.own + self.mapped
    }
}

impl std::ops::AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        self.own += other.own;
        self.mapped += other.mapped;
        self.stored += other.stored;
    }
}

impl std::iter::Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, bytes| {
            sum += bytes;
            sum
        })
    }
}

/// The weights of a model of blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BlockWeights {
    pub(super) blocks: Vec<Bytes>,
    /// All that is in no block.
    pub(super) outside: Bytes,
}

impl BlockWeights {
    /// Of the first so many blocks.
    pub(super) fn resident(&self, blocks: usize) -> Bytes {
        self.blocks[..blocks].iter().copied().sum()
    }

    /// Of the two largest blocks among those behind the first so many, in memory of their own.
    pub(super) fn ring(&self, resident: usize) -> u64 {
        let mut sizes: Vec<u64> = self.blocks[resident..].iter().map(Bytes::held).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.iter().take(2).sum()
    }

    /// In the files, behind the first so many.
    pub(super) fn streamed(&self, resident: usize) -> u64 {
        self.blocks[resident..].iter().map(|block| block.stored).sum()
    }
}

impl PipelineWeights {
    /// The transformer's weights with some settings.
    pub(super) fn transformer(&self, blocks: usize, settings: &DrawingSettings) -> BlockWeights {
        let mut found = BlockWeights { blocks: vec![Bytes::default(); blocks], outside: Bytes::default() };
        for tensor in &self.transformer.tensors {
            match block_index(&tensor.key, BLOCKS) {
                Some(index) if index < blocks => found.blocks[index] += tensor.bytes(settings, true),
                _ => found.outside += tensor.bytes(settings, false),
            }
        }
        found
    }

    /// The text encoder's weights with some settings; the last layer and what follows it are not used, and of the
    /// embedding only rows.
    pub(super) fn text_encoder(&self, config: &GlmConfig, settings: &DrawingSettings) -> BlockWeights {
        let used = config.num_hidden_layers.saturating_sub(1);
        let mut found = BlockWeights { blocks: vec![Bytes::default(); used], outside: Bytes::default() };
        for tensor in &self.text_encoder.tensors {
            let key = tensor.key.strip_prefix("model.").unwrap_or(&tensor.key);
            if let Some(index) = block_index(key, LAYERS).filter(|&index| index < used) {
                found.blocks[index] += tensor.bytes(settings, true);
            }
        }
        found
    }

    /// The autoencoder's weights with some settings: those of encoder and decoder.
    pub(super) fn vae(&self, settings: &DrawingSettings) -> [Bytes; 2] {
        let of = |starts: [&str; 2]| {
            let ours = |tensor: &&StoredTensor| starts.iter().any(|start| tensor.key.starts_with(start));
            self.vae.tensors.iter().filter(ours).map(|tensor| tensor.bytes(settings, false)).sum()
        };
        [of(["encoder.", "quant_conv."]), of(["decoder.", "post_quant_conv."])]
    }
}

/// In memory of their own, as a training run has the frozen models.
impl PipelineWeights {
    /// Bytes of the text encoder, whole or, where it is streamed, of the two layers that are there at a time.
    pub fn text_encoder_bytes(&self, config: &GlmConfig, settings: &DrawingSettings, is_streamed: bool) -> u64 {
        let weights = self.text_encoder(config, settings);
        if is_streamed { weights.ring(0) } else { weights.resident(weights.blocks.len()).held() }
    }

    /// Bytes of the autoencoder.
    pub fn vae_bytes(&self, settings: &DrawingSettings) -> u64 {
        self.vae(settings).iter().map(Bytes::held).sum()
    }
}

impl StoredTensor {
    fn values(&self) -> u64 {
        self.shape.iter().map(|&side| side as u64).product()
    }

    /// Bytes in the file.
    fn stored(&self) -> u64 {
        let size = match self.dtype.as_str() {
            "F64" | "I64" | "U64" => 8,
            "F32" | "I32" | "U32" => 4,
            "F16" | "BF16" | "I16" | "U16" => 2,
            _ => 1,
        };
        size * self.values()
    }

    /// Where its bytes are with some settings; matrices of blocks may be held as bytes, and are where they are stored
    /// so.
    fn bytes(&self, settings: &DrawingSettings, is_in_block: bool) -> Bytes {
        let stored = self.stored();
        let is_int8 = settings.weights == WeightStorage::Int8 || self.dtype == "I8";
        let as_bytes = is_int8 && is_in_block && self.shape.len() == 2;
        if self.key.ends_with(SCALE_SUFFIX) && self.dtype == "F16" {
            // A part of a matrix that is held as bytes, or gone once it is widened.
            let mapped = if is_in_block { stored } else { 0 };
            return settings.placed(Bytes { own: 0, mapped, stored });
        }
        if as_bytes {
            return match self.dtype.as_str() {
                "I8" => settings.placed(Bytes { own: 0, mapped: stored, stored }),
                _ => Bytes { own: self.values() + 2 * self.values().div_ceil(BLOCK_VALUES as u64), mapped: 0, stored },
            };
        }
        let own = self.values() * settings.dtype.dtype().size() as u64;
        let is_ready = match settings.dtype {
            ComputeDtype::BFloat16 => self.dtype == "BF16",
            _ => self.dtype == "F32",
        };
        match is_ready {
            true => settings.placed(Bytes { own: 0, mapped: own, stored }),
            false => Bytes { own, mapped: 0, stored },
        }
    }
}

impl DrawingSettings {
    /// What the host would use from the map, a device has in its own memory.
    fn placed(&self, bytes: Bytes) -> Bytes {
        match self.is_on_host() {
            true => bytes,
            false => Bytes { own: bytes.own + bytes.mapped, mapped: 0, ..bytes },
        }
    }
}

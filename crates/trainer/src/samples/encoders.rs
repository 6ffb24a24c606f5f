//! What the frozen models make of pictures and captions: latent moments and prompt embeddings, from the pack or computed.
//! Both ways give the same bytes, as each picture and each caption goes through alone.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Device, Tensor};
use cogview4_control_pipeline::{PromptTokenizer, TokenizedPrompt};
use cogview4_data::{ImageTransform, Pack, PackKey};
use cogview4_model::{AutoencoderKl, AutoencoderKlConfig, GlmModel};
use image::RgbImage;

use crate::{
    error::{Result, TrainError},
    samples::batch::Features,
    samples::rows::{Loaded, LoadedPictures},
};

/// The frozen models of a pipeline; loaded when first needed.
pub(crate) struct Encoders {
    folder: PathBuf,
    device: Device,
    transform: ImageTransform,
    max_sequence_length: usize,
    tokenizer: PromptTokenizer,
    vae_config: AutoencoderKlConfig,
    vae: OnceCell<AutoencoderKl>,
    text_encoder: OnceCell<GlmModel>,
    vae_hash: OnceCell<PackKey>,
    text_hash: OnceCell<PackKey>,
}

/// Encoders with the pack in front of them, if there is one.
pub(crate) struct FeatureSource {
    pub encoders: Encoders,
    pub pack: Option<Pack>,
}

impl FeatureSource {
    /// What the frozen models make of a sample.
    pub(crate) fn sample(&mut self, loaded: Loaded) -> Result<Features> {
        let [image, control] = match loaded.pictures {
            LoadedPictures::Decoded(pictures) => {
                [self.encoders.moments(&pictures[0])?, self.encoders.moments(&pictures[1])?]
            }
            LoadedPictures::Packed([image, control]) => {
                let pack = self.pack.as_mut().expect("invariant: packed pictures have a pack");
                [read(pack, &image)?, read(pack, &control)?]
            }
        };
        let tokens = self.encoders.tokenize(&loaded.caption)?;
        let embeds = self.embeds(&tokens)?;
        Ok(Features { sample: loaded.sample, image, control, embeds, pads: tokens.pads })
    }

    /// The embedding of a text that was not packed with the data set, with its pads.
    pub(crate) fn text(&mut self, text: &str) -> Result<(Values, usize)> {
        if let Some(pack) = &mut self.pack {
            self.encoders.pack_caption(pack, text)?;
        }
        let tokens = self.encoders.tokenize(text)?;
        Ok((self.embeds(&tokens)?, tokens.pads))
    }

    fn embeds(&mut self, tokens: &TokenizedPrompt) -> Result<Values> {
        match &mut self.pack {
            Some(pack) => read(pack, &self.encoders.caption_key(tokens)?),
            None => self.encoders.embeds(tokens),
        }
    }
}

fn read(pack: &mut Pack, key: &PackKey) -> Result<Values> {
    let (shape, values) = pack.read(key)?;
    Ok(Values { shape, values })
}

/// Values with their shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Values {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Encoders {
    pub(crate) fn open(folder: &Path, resolution: u32, max_sequence_length: usize, device: &Device) -> Result<Self> {
        Ok(Self {
            folder: folder.into(),
            device: device.clone(),
            transform: ImageTransform { resolution },
            max_sequence_length,
            tokenizer: PromptTokenizer::load(&folder.join("tokenizer"))?,
            vae_config: AutoencoderKlConfig::load(&folder.join("vae").join("config.json"))?,
            vae: OnceCell::new(),
            text_encoder: OnceCell::new(),
            vae_hash: OnceCell::new(),
            text_hash: OnceCell::new(),
        })
    }

    /// Gives the memory of the models back; they are loaded again should they be needed.
    pub(crate) fn unload(&mut self) {
        self.vae.take();
        self.text_encoder.take();
    }

    pub(crate) fn vae_config(&self) -> &AutoencoderKlConfig {
        &self.vae_config
    }

    /// Mean and logarithm of the variance of a picture's latents, `[2 C, h, w]`.
    pub(crate) fn moments(&self, image: &RgbImage) -> Result<Values> {
        let posterior = self.vae()?.encode(self.transform.apply(image, &self.device));
        let moments = Tensor::cat(vec![posterior.mean, posterior.logvar], 1);
        let [_, channels, height, width] = moments.dims();
        Ok(Values { shape: vec![channels, height, width], values: to_vec(moments) })
    }

    pub(crate) fn vae(&self) -> Result<&AutoencoderKl> {
        get_or_load(&self.vae, || AutoencoderKl::load(&self.folder.join("vae"), DType::F32, &self.device))
    }

    /// The embedding of a caption, `[S, text_embed_dim]`.
    fn embeds(&self, tokens: &TokenizedPrompt) -> Result<Values> {
        let load = || GlmModel::load(&self.folder.join("text_encoder"), DType::F32, &self.device);
        let model = get_or_load(&self.text_encoder, load)?;
        model.check_ids(&tokens.ids)?;
        let embeds = model.forward(&tokens.ids);
        let [_, seq, width] = embeds.dims();
        Ok(Values { shape: vec![seq, width], values: to_vec(embeds) })
    }

    pub(crate) fn tokenize(&self, caption: &str) -> Result<TokenizedPrompt> {
        Ok(self.tokenizer.encode(caption, self.max_sequence_length)?)
    }

    /// Packs the moments of an encoded picture, unless they are there, and gives their key.
    pub(crate) fn pack_picture(
        &self,
        pack: &mut Pack,
        picture: Vec<u8>,
        decode: impl FnOnce(Vec<u8>) -> Result<RgbImage>,
    ) -> Result<PackKey> {
        let key = self.picture_key(&picture)?;
        if !pack.contains(&key) {
            let moments = self.moments(&decode(picture)?)?;
            pack.append(key.clone(), &moments.shape, &moments.values)?;
        }
        Ok(key)
    }

    /// Packs the embedding of a caption, unless it is there.
    pub(crate) fn pack_caption(&self, pack: &mut Pack, caption: &str) -> Result<()> {
        let tokens = self.tokenize(caption)?;
        let key = self.caption_key(&tokens)?;
        if !pack.contains(&key) {
            let embeds = self.embeds(&tokens)?;
            pack.append(key, &embeds.shape, &embeds.values)?;
        }
        Ok(())
    }

    /// The key of a picture's moments; `picture` is its encoded form.
    fn picture_key(&self, picture: &[u8]) -> Result<PackKey> {
        let hash = get_or_load(&self.vae_hash, || hash_component(&self.folder.join("vae")))?;
        let resolution = self.transform.resolution.to_le_bytes();
        Ok(PackKey::new(&[b"moments bilinear f32", hash.as_bytes(), &resolution, picture]))
    }

    /// The key of a caption's embedding.
    fn caption_key(&self, tokens: &TokenizedPrompt) -> Result<PackKey> {
        let hash = get_or_load(&self.text_hash, || hash_component(&self.folder.join("text_encoder")))?;
        let ids: Vec<u8> = tokens.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        Ok(PackKey::new(&[b"embeds f32", hash.as_bytes(), &ids]))
    }
}

fn get_or_load<T, E: Into<TrainError>>(cell: &OnceCell<T>, load: impl FnOnce() -> Result<T, E>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = load().map_err(Into::into)?;
    Ok(cell.get_or_init(|| value))
}

fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("invariant: encoders give f32")
}

/// Hash of a component's configuration and weights.
fn hash_component(folder: &Path) -> Result<PackKey> {
    let fail = |error: std::io::Error| TrainError::checkpoint(folder, error);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(fail)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .map_err(fail)?;
    files.retain(|path| path.extension().is_some_and(|end| end == "json" || end == "safetensors"));
    files.sort();
    let mut hashes = Vec::new();
    for path in files {
        let mut hasher = blake3::Hasher::new();
        let file = std::fs::File::open(&path).map_err(fail)?;
        hasher.update_reader(file).map_err(fail)?;
        hashes.extend_from_slice(hasher.finalize().as_bytes());
    }
    Ok(PackKey::new(&[&hashes]))
}

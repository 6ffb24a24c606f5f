//! The frozen models: pictures to latent moments, captions to embeddings. Each picture and each caption goes through
//! alone, so what comes out never depends on its neighbours.

use std::cell::OnceCell;

use burn::tensor::{DType, Device, Tensor, TensorData};
use cogview4_control_pipeline::{PipelineError, PipelineFolder, TokenizedPrompt};
use cogview4_data::ImageTransform;
use cogview4_model::{
    AutoencoderKl, GlmModel,
    weights::{Int8, WeightOptions},
};
use image::RgbImage;

use crate::error::Result;

/// VAE and text encoder of a pipeline; loaded when first needed.
pub(crate) struct Encoders {
    folder: PipelineFolder,
    pub transform: ImageTransform,
    pub device: Device,
    /// Whether the text encoder is streamed.
    pub offload: bool,
    /// Which of its matrices are in 8 bits.
    int8: Int8,
    vae: OnceCell<AutoencoderKl>,
    text_encoder: OnceCell<GlmModel>,
}

impl Encoders {
    pub(crate) fn new(
        folder: PipelineFolder,
        transform: ImageTransform,
        device: &Device,
        offload: bool,
        int8: Int8,
    ) -> Self {
        let device = device.clone();
        Self { folder, transform, device, offload, int8, vae: OnceCell::new(), text_encoder: OnceCell::new() }
    }

    /// Gives the memory of the models back; they are loaded again should they be needed.
    pub(crate) fn unload(&mut self) {
        self.vae.take();
        self.text_encoder.take();
    }

    fn options(&self) -> WeightOptions {
        WeightOptions::new(DType::F32, &self.device)
    }

    pub(crate) fn vae(&self) -> Result<&AutoencoderKl> {
        get_or_load(&self.vae, || self.folder.load_vae(&self.options()))
    }

    /// Mean and logarithm of the variance of a picture's latents, `[2 C, h, w]`.
    pub(crate) fn moments(&self, image: &RgbImage) -> Result<TensorData> {
        let posterior = self.vae()?.encode(self.transform.apply(image, &self.device));
        let moments = Tensor::cat(vec![posterior.mean, posterior.logvar], 1);
        let [_, channels, height, width] = moments.dims();
        Ok(TensorData::new(to_vec(moments, "what the autoencoder makes of a picture")?, [channels, height, width]))
    }

    /// The embedding of a caption, `[S, text_embed_dim]`.
    pub(crate) fn embeds(&self, tokens: &TokenizedPrompt) -> Result<TensorData> {
        let mut embeds = self.embeds_each(std::slice::from_ref(&tokens.ids))?;
        Ok(embeds.pop().expect("invariant: an embedding for each caption"))
    }

    /// The embeddings of captions by their ids, in one pass over the text encoder.
    pub(crate) fn embeds_each(&self, ids: &[Vec<u32>]) -> Result<Vec<TensorData>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let resident_blocks = self.offload.then_some(0);
        let options = WeightOptions { resident_blocks, int8: self.int8, ..self.options() };
        let model = get_or_load(&self.text_encoder, || self.folder.load_text_encoder(&options))?;
        ids.iter().try_for_each(|ids| model.check_ids(ids))?;
        let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let to_data = |embeds: Tensor<3>| {
            let [_, seq, width] = embeds.dims();
            Ok(TensorData::new(to_vec(embeds, "what the text encoder makes of a caption")?, [seq, width]))
        };
        model.forward_each(&ids)?.into_iter().map(to_data).collect()
    }
}

fn get_or_load<T>(cell: &OnceCell<T>, load: impl FnOnce() -> Result<T, PipelineError>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = load()?;
    Ok(cell.get_or_init(|| value))
}

/// The values, which are finite numbers: of others, training would only say that it diverges.
fn to_vec<const D: usize>(tensor: Tensor<D>, what: &'static str) -> Result<Vec<f32>> {
    let values: Vec<f32> = tensor.into_data().try_into_vec().expect("invariant: encoders give f32");
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(PipelineError::NotFinite { what }.into()),
    }
}

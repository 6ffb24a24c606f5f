//! Validation pictures: generated as the pipeline generates, with the models that the run holds already.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Device, Tensor, TensorData};
use cogview4_control_pipeline::{PromptEmbeds, Sampler, StepEnd, VaeImageProcessor, check_finite, save_image};
use cogview4_model::{
    AutoencoderKl, CogView4Transformer, FlowMatchEulerScheduler, TorchGenerator, files::check_writable,
    scheduler::StepSchedule, transformer::SizeConditions,
};
use image::RgbImage;

use super::{
    control::{ControlPicture, FOLDER},
    kind::ControlKind,
};
use crate::{
    config::TrainConfig,
    error::{Result, make_folder},
    metrics::{Fidelity, ValidationImage},
    samples::{BatchMaker, SampleEncoder, Share},
    stop::StopFlag,
};

/// Denoising steps of a validation picture, as in the reference.
const STEPS: usize = 50;

/// Makes the folder of the pictures, and checks that they can be written.
pub(crate) fn check_folder(config: &TrainConfig) -> Result<()> {
    if config.validation.pairs.is_empty() {
        return Ok(());
    }
    let folder = config.output_dir.join(FOLDER);
    make_folder("output_dir", &folder)?;
    Ok(check_writable(&folder.join("step-0-1-1.png"))?)
}

/// Everything that generating needs but the transformer.
pub(crate) struct ValidationImages {
    pub controls: Vec<ControlPicture>,
    /// What is measured of the pictures.
    pub kind: ControlKind,
    /// Of each control picture: normalised control latents `[1, C, h, w]`, and the prompt.
    inputs: Vec<(Tensor<4>, PromptEmbeds)>,
    negative: PromptEmbeds,
    vae: AutoencoderKl,
    output_dir: PathBuf,
    num_validation_images: usize,
    guidance_scale: f64,
}

impl ValidationImages {
    pub(crate) fn prepare(
        config: &TrainConfig,
        controls: Vec<ControlPicture>,
        kind: ControlKind,
        encoder: &SampleEncoder,
    ) -> Result<Self> {
        let (strict, device) = (config.recipe.strict_text_mask, &encoder.encoders.device);
        let mut inputs = Vec::with_capacity(controls.len());
        for control in &controls {
            let side = config.recipe.resolution as usize;
            let pixels = VaeImageProcessor.preprocess(&control.image, side, side, DType::F32, device);
            let vae = encoder.encoders.vae()?;
            let latents = vae.normalize(vae.encode(pixels).mode());
            inputs.push((latents, prompt_embeds(encoder.text(&control.prompt)?, strict, device)));
        }
        Ok(Self {
            controls,
            kind,
            inputs,
            negative: prompt_embeds(encoder.text("")?, strict, device),
            vae: encoder.encoders.vae()?.clone(),
            output_dir: config.output_dir.clone(),
            num_validation_images: config.validation.num_validation_images,
            guidance_scale: config.validation.guidance_scale,
        })
    }

    /// Generates and writes every picture of this share; nothing when `stop` is set meanwhile. Repeat `j` has the seed of
    /// the run plus `j - 1`.
    pub(crate) fn generate(
        &self,
        (step, share): (usize, Share),
        model: &CogView4Transformer,
        maker: &BatchMaker<'_>,
        stop: &StopFlag,
    ) -> Result<Option<Vec<ValidationImage>>> {
        let [_, _, height, width] = self.inputs[0].0.dims();
        let seq_len = height * width / (maker.patch_size * maker.patch_size);
        let schedule = FlowMatchEulerScheduler::new(maker.scheduler, &StepSchedule::Steps(STEPS), seq_len)?;
        let side = maker.recipe.resolution as usize;
        let sampler = Sampler {
            transformer: model,
            schedule: &schedule,
            guidance_scale: self.guidance_scale,
            sizes: SizeConditions::uncropped(side, side),
            dtype: maker.recipe.compute_dtype.dtype(),
        };
        let mut stop_if_asked = |_: &mut StepEnd| match stop.is_requested() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let mut images = Vec::new();
        for (pair, ((control_latents, prompt), control)) in self.inputs.iter().zip(&self.controls).enumerate() {
            for repeat in 0..self.num_validation_images {
                if !share.has(pair * self.num_validation_images + repeat) {
                    continue;
                }
                let seed = maker.seed.wrapping_add(repeat as u64);
                let shape = control_latents.dims();
                let noise = TorchGenerator::new(seed).randn(shape.iter().product());
                let noise = Tensor::from_data(TensorData::new(noise, shape), (maker.device, DType::F32));
                let negative = (self.guidance_scale > 1.0).then(|| self.negative.clone());
                let latents =
                    sampler.run(noise, Some(control_latents), prompt.clone(), negative, &mut stop_if_asked)?;
                if stop.is_requested() {
                    return Ok(None);
                }
                let file = Path::new(FOLDER).join(format!("step-{step}-{}-{}.png", pair + 1, repeat + 1));
                let pixels = self.vae.decode(self.vae.denormalize(latents));
                check_finite(&pixels, "a validation picture")?;
                let picture = &VaeImageProcessor.postprocess(pixels)[0];
                save_image(picture, &self.output_dir.join(&file))?;
                images.push(ValidationImage {
                    file,
                    pair: pair + 1,
                    repeat: repeat + 1,
                    seed,
                    prompt: control.prompt.clone(),
                    fidelity: self.fidelity(picture, pair),
                });
            }
        }
        Ok(Some(images))
    }

    /// How well a picture of a pair follows its control image; another pair's says what chance gives.
    fn fidelity(&self, picture: &RgbImage, pair: usize) -> Fidelity {
        let own = &self.controls[pair].image;
        let mut others = (1..self.controls.len()).map(|step| &self.controls[(pair + step) % self.controls.len()].image);
        let other = others.find(|other| *other != own);
        self.kind.measure.map_or(Fidelity::default(), |measure| measure.fidelity(picture, own, other))
    }
}

fn prompt_embeds((values, pads): (TensorData, usize), strict: bool, device: &Device) -> PromptEmbeds {
    let [seq, width] = [values.shape()[0], values.shape()[1]];
    let hidden = (0..seq).map(|token| token < pads).collect::<Vec<bool>>();
    PromptEmbeds {
        embeds: Tensor::<2>::from_data(values, (device, DType::F32)).reshape([1, seq, width]),
        hidden: strict.then(|| Tensor::from_data(TensorData::new(hidden, [1, seq]), device)),
    }
}

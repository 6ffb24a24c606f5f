//! Validation: whether control is being learned, in numbers ([`probe`]), in pictures ([`images`]), and in whether those
//! follow their control images ([`edges`]). It draws from streams of its own and changes nothing of the training.

mod edges;
mod images;
mod probe;

use std::path::PathBuf;

use burn::tensor::Device;
use cogview4_model::{CogView4Transformer, FlowMatchEulerSchedulerConfig};
use serde::{Deserialize, Serialize};

use crate::{
    config::TrainConfig, error::Result, samples::batch::BatchMaker, samples::encoders::FeatureSource,
    samples::rows::Loader, stop::StopFlag,
};

pub(crate) use images::{ControlPicture, PictureValidation, check_folder, load_controls};
pub(crate) use probe::Probe;

/// Folder of the pictures, in the output folder.
pub(crate) const FOLDER: &str = "validation";

/// What a validation found; a line of `validation.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Validation {
    /// Optimiser steps made; 0 is before the first.
    pub step: usize,
    /// Mean loss of the probe with its own control images.
    pub loss_true: Option<f64>,
    /// The same with the control images of other rows.
    pub loss_shuffled: Option<f64>,
    /// The same without control: latents of zeros.
    pub loss_zero: Option<f64>,
    /// `(loss_shuffled - loss_true) / loss_true`: 0 where the model does not look at the control image.
    pub control_gain: Option<f64>,
    /// Norm of the weights that take the control latents.
    pub control_norm: f64,
    /// How well the pictures follow their control images, where those are edge maps: the mean F1 score of the edges found in
    /// a picture again, with a tolerance of one pixel.
    #[serde(default)]
    pub edge_f1: Option<f64>,
    /// The same against the control image of another pair: what chance gives.
    #[serde(default)]
    pub edge_f1_shuffled: Option<f64>,
    /// What the probe consists of.
    pub probe: String,
    /// The pictures that were drawn.
    pub images: Vec<ValidationImage>,
    /// Time it took.
    pub seconds: f64,
}

/// One picture of a validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ValidationImage {
    /// The file, in the output folder.
    pub file: PathBuf,
    /// The pair of prompt and control image, the first is 1.
    pub pair: usize,
    /// The repeat of the pair, the first is 1.
    pub repeat: usize,
    /// Seed of its noise.
    pub seed: u64,
    /// Its prompt.
    pub prompt: String,
    /// F1 score of its edges against its control image, where that is an edge map.
    #[serde(default)]
    pub edge_f1: Option<f64>,
    /// The same against the control image of another pair.
    #[serde(default)]
    pub edge_f1_shuffled: Option<f64>,
}

/// All that validation needs, made before the text encoder is let go.
pub(crate) struct Validator {
    probe: Option<Probe>,
    probe_rows: String,
    pictures: Option<PictureValidation>,
}

impl Validator {
    /// Encodes the probe and the validation pairs. `held_out` is measured on where there is one, else training rows.
    pub(crate) fn prepare(
        config: &TrainConfig,
        (train, held_out): (&Loader, Result<Option<Loader>>),
        controls: Vec<ControlPicture>,
        features: &mut FeatureSource,
        device: &Device,
    ) -> Result<Self> {
        if !config.numerics.control {
            return Ok(Self { probe: None, probe_rows: "a base model follows no control".into(), pictures: None });
        }
        let (probe, probe_rows) = match held_out {
            Ok(Some(held_out)) => (Probe::of_split(&held_out, features)?, "held-out split"),
            Ok(None) => (Probe::of_training_rows(train, features)?, "training rows"),
            Err(_) => (Probe::of_training_rows(train, features)?, "training rows: the held-out split cannot be read"),
        };
        let probe_rows = match &probe {
            Some(probe) => format!("{} {probe_rows}", probe.rows()),
            None => "one row is too few to shuffle".into(),
        };
        let pictures = match controls.is_empty() {
            true => None,
            false => Some(PictureValidation::prepare(config, controls, features, device)?),
        };
        Ok(Self { probe, probe_rows, pictures })
    }

    /// What is shown beside the results.
    pub(crate) fn controls(&self) -> &[ControlPicture] {
        self.pictures.as_ref().map_or(&[], |pictures| &pictures.controls)
    }

    /// Measures the model, and draws with it unless no step was made; nothing when `stop` is set meanwhile.
    pub(crate) fn run(
        &self,
        step: usize,
        model: &CogView4Transformer,
        maker: &BatchMaker<'_>,
        (scheduler, stop): (&FlowMatchEulerSchedulerConfig, &StopFlag),
    ) -> Result<Option<Validation>> {
        let start = std::time::Instant::now();
        let losses = self.probe.as_ref().map(|probe| probe.losses(model, maker));
        let images = match &self.pictures {
            Some(pictures) if step > 0 => pictures.draw(step, model, maker, (scheduler, stop))?,
            _ => Some(Vec::new()),
        };
        let Some(images) = images else { return Ok(None) };
        let part = |index: usize| losses.map(|losses| losses[index]);
        Ok(Some(Validation {
            step,
            loss_true: part(0),
            loss_shuffled: part(1),
            loss_zero: part(2),
            control_gain: losses.map(|[true_, shuffled, _]| (shuffled - true_) / true_).filter(|gain| gain.is_finite()),
            control_norm: model.control_norm(),
            edge_f1: mean(images.iter().filter_map(|image| image.edge_f1)),
            edge_f1_shuffled: mean(images.iter().filter_map(|image| image.edge_f1_shuffled)),
            probe: self.probe_rows.clone(),
            images,
            seconds: start.elapsed().as_secs_f64(),
        }))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

//! Validation: whether control is being learned, in numbers ([`probe`]), in pictures ([`images`]), and in whether those
//! follow their control images ([`measure`], where [`kind`] finds that it means something). It draws its numbers from
//! streams of its own and changes nothing of the training.

mod control;
mod images;
mod kind;
mod lines;
mod measure;
mod probe;

use cogview4_model::CogView4Transformer;
use serde::{Deserialize, Serialize};

use crate::{
    config::TrainConfig,
    error::Result,
    metrics::{Fidelity, Validation, ValidationImage},
    samples::{BatchMaker, Rows, SampleEncoder, Share},
    stop::StopFlag,
};

pub(crate) use control::{ControlPicture, FOLDER, load_controls};
pub(crate) use images::check_folder;
pub(crate) use probe::Probe;

use self::{images::ValidationImages, kind::ControlKind};

/// What one of several processes has found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    losses: Option<[f64; 3]>,
    images: Vec<ValidationImage>,
}

/// The rows that are measured on.
pub(crate) struct ProbeRows<'a> {
    pub train: &'a Rows,
    /// A split that is not trained on.
    pub held_out: Option<Rows>,
    /// Why the held-out split that is there is not used.
    pub unreadable: Option<String>,
}

/// All that one of several processes needs to validate, made before the text encoder is let go: the first measures, and
/// pictures are drawn by all in turn.
pub(crate) struct Validator {
    share: Share,
    probe: Option<Probe>,
    probe_rows: String,
    images: Option<ValidationImages>,
}

impl Validator {
    /// Encodes the probe and the validation pairs. `held_out` is measured on where there is one, else training rows.
    pub(crate) fn prepare(
        config: &TrainConfig,
        rows: ProbeRows<'_>,
        controls: Vec<ControlPicture>,
        (encoder, share): (&SampleEncoder, Share),
    ) -> Result<Self> {
        if !config.recipe.control {
            return Ok(Self { share, probe: None, probe_rows: "a base model follows no control".into(), images: None });
        }
        let probe = match &rows.held_out {
            _ if share.rank > 0 => None,
            Some(held_out) => Probe::of_split(held_out, encoder)?,
            None => Probe::of_training_rows(rows.train, encoder)?,
        };
        let probe_rows = match (&probe, &rows.held_out, &rows.unreadable) {
            (None, ..) => "one row is too few to shuffle".into(),
            (Some(probe), Some(_), _) => format!("{} held-out split", probe.rows()),
            (Some(probe), None, None) => format!("{} training rows", probe.rows()),
            (Some(probe), None, Some(reason)) => {
                format!("{} training rows: the held-out split cannot be read: {reason}", probe.rows())
            }
        };
        // Who has no picture to draw needs nothing for it.
        let count = controls.len() * config.validation.num_validation_images;
        let images = match (0..count).all(|number| !share.has(number)) {
            true => None,
            false => {
                let kind = ControlKind::find(rows.train, config.recipe.resolution);
                Some(ValidationImages::prepare(config, controls, kind, encoder)?)
            }
        };
        Ok(Self { share, probe, probe_rows, images })
    }

    /// What is shown beside the results.
    pub(crate) fn controls(&self) -> &[ControlPicture] {
        self.images.as_ref().map_or(&[], |images| &images.controls)
    }

    /// Measures the model, and generates pictures with it unless no step was made: the own part of both; nothing when
    /// `stop` is set meanwhile.
    pub(crate) fn run(
        &self,
        step: usize,
        model: &CogView4Transformer,
        maker: &BatchMaker<'_>,
        stop: &StopFlag,
    ) -> Result<Option<Part>> {
        let losses = self.probe.as_ref().map(|probe| probe.losses(model, maker)).transpose()?;
        let images = match &self.images {
            Some(images) if step > 0 => images.generate((step, self.share), model, maker, stop)?,
            _ => Some(Vec::new()),
        };
        Ok(images.map(|images| Part { losses, images }))
    }

    /// The parts of all processes as one.
    pub(crate) fn join(
        &self,
        (step, seconds): (usize, f64),
        model: &CogView4Transformer,
        parts: Vec<Part>,
    ) -> Validation {
        let losses = parts.iter().find_map(|part| part.losses);
        let mut images: Vec<ValidationImage> = parts.into_iter().flat_map(|part| part.images).collect();
        images.sort_by_key(|image| (image.pair, image.repeat));
        let part = |index: usize| losses.map(|losses| losses[index]);
        Validation {
            step,
            loss_true: part(0),
            loss_shuffled: part(1),
            loss_zero: part(2),
            control_gain: losses.map(|[true_, shuffled, _]| (shuffled - true_) / true_).filter(|gain| gain.is_finite()),
            control_norm: model.control_norm(),
            fidelity: Fidelity::mean(images.iter().map(|image| &image.fidelity)),
            controls: self.images.as_ref().map_or(String::new(), |images| images.kind.to_string()),
            probe: self.probe_rows.clone(),
            images,
            seconds,
        }
    }
}

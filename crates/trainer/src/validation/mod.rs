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

use crate::{
    config::TrainConfig,
    error::Result,
    metrics::{Fidelity, Validation},
    samples::{BatchMaker, Rows, SampleEncoder},
    stop::StopFlag,
};

pub(crate) use control::{ControlPicture, FOLDER, load_controls};
pub(crate) use images::check_folder;
pub(crate) use probe::Probe;

use self::{images::ValidationImages, kind::ControlKind};

/// The rows that are measured on.
pub(crate) struct ProbeRows<'a> {
    pub train: &'a Rows,
    /// A split that is not trained on.
    pub held_out: Option<Rows>,
    /// Why the held-out split that is there is not used.
    pub unreadable: Option<String>,
}

/// All that validation needs, made before the text encoder is let go.
pub(crate) struct Validator {
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
        encoder: &SampleEncoder,
    ) -> Result<Self> {
        if !config.recipe.control {
            return Ok(Self { probe: None, probe_rows: "a base model follows no control".into(), images: None });
        }
        let probe = match &rows.held_out {
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
        let images = match controls.is_empty() {
            true => None,
            false => {
                let kind = ControlKind::find(rows.train, config.recipe.resolution);
                Some(ValidationImages::prepare(config, controls, kind, encoder)?)
            }
        };
        Ok(Self { probe, probe_rows, images })
    }

    /// What is shown beside the results.
    pub(crate) fn controls(&self) -> &[ControlPicture] {
        self.images.as_ref().map_or(&[], |images| &images.controls)
    }

    /// Measures the model, and generates pictures with it unless no step was made; nothing when `stop` is set
    /// meanwhile.
    pub(crate) fn run(
        &self,
        step: usize,
        model: &CogView4Transformer,
        maker: &BatchMaker<'_>,
        stop: &StopFlag,
    ) -> Result<Option<Validation>> {
        let start = std::time::Instant::now();
        let losses = self.probe.as_ref().map(|probe| probe.losses(model, maker)).transpose()?;
        let images = match &self.images {
            Some(images) if step > 0 => images.generate(step, model, maker, stop)?,
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
            fidelity: Fidelity::mean(images.iter().map(|image| &image.fidelity)),
            controls: self.images.as_ref().map_or(String::new(), |images| images.kind.to_string()),
            probe: self.probe_rows.clone(),
            images,
            seconds: start.elapsed().as_secs_f64(),
        }))
    }
}

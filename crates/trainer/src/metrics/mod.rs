//! What a run measures of itself: lines of `metrics.jsonl` and `validation.jsonl`.

mod outliers;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use outliers::{OUTLIER, Outliers};

/// What is measured of a step; a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, the first is 1.
    pub step: usize,
    /// Mean loss of the step's samples.
    pub loss: f64,
    /// Learning rate used in this step.
    pub lr: f64,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// How many standard deviations the loss lies from the mean of the 128 steps before; nothing for the first 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_z: Option<f64>,
    /// The same of the norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_norm_z: Option<f64>,
    /// Samples of this step over the time it took.
    pub samples_per_second: f64,
    /// The part of the device's peak that the model's own operations took: three times those of a forward pass, as if
    /// nothing was computed again, over the step's time. Nothing where no peak is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// The peak that `mfu` assumes, in floating-point operations a second, of all processes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_flops: Option<f64>,
    /// What multiplied in linear layers, of [`ProductKernel`](cogview4_model::ops::ProductKernel) by name; nothing where
    /// another device than the CPU did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The most memory that the process has held, pages of mapped files among it.
    pub peak_memory_bytes: u64,
    /// The most anonymous memory that was seen since the run was opened: what it needs. 0 where the system does not
    /// tell, and in files of earlier releases.
    #[serde(default)]
    pub anon_memory_bytes: u64,
    /// Time that the training thread waited for the step's samples.
    #[serde(default)]
    pub data_seconds: f64,
    /// Time until the losses were there.
    #[serde(default)]
    pub forward_seconds: f64,
    /// Time until the gradients were there, after that.
    #[serde(default)]
    pub backward_seconds: f64,
    /// Time of the optimiser, clipping included.
    #[serde(default)]
    pub update_seconds: f64,
    /// Time that the training thread was held up by checkpoints since the step before.
    #[serde(default)]
    pub save_seconds: f64,
    /// Of a run of several processes; the other times and memory are the first process's.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub processes: Option<ProcessMetrics>,
}

/// What is measured of processes that train together, by the first of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessMetrics {
    /// How many.
    pub processes: usize,
    /// Time in which gradients were exchanged and added.
    pub exchange_seconds: f64,
    /// What of it the backward pass waited for.
    pub exchange_wait_seconds: f64,
    /// Time in which updated weights were gathered.
    pub gather_seconds: f64,
    /// What of it the optimiser waited for.
    pub gather_wait_seconds: f64,
}

impl StepMetrics {
    /// What the progress bar says.
    pub(crate) fn message(&self) -> String {
        let memory = match self.anon_memory_bytes {
            0 => String::new(),
            bytes => format!(", {:.2} GB", bytes as f64 / 1e9),
        };
        let mfu = self.mfu.map(|mfu| format!(", {:.0} % of the peak", 100.0 * mfu)).unwrap_or_default();
        format!("loss {:.4}, lr {:.2e}{memory}{mfu}", self.loss, self.lr)
    }

    /// What trackers plot, by tag.
    pub fn scalars(&self) -> Vec<(&'static str, f64)> {
        let mut scalars = vec![
            ("loss", self.loss),
            ("lr", self.lr),
            ("grad_norm", self.grad_norm),
            ("samples_per_second", self.samples_per_second),
        ];
        scalars.extend(self.mfu.map(|mfu| ("mfu", mfu)));
        scalars
    }
}

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
    /// How well the pictures follow their control images, on average.
    #[serde(flatten)]
    pub fidelity: Fidelity,
    /// What the training rows' control images are of their pictures, and so what of the fidelity is measured; empty
    /// where no pictures are generated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub controls: String,
    /// What the probe consists of.
    pub probe: String,
    /// The pictures that were generated.
    pub images: Vec<ValidationImage>,
    /// Time it took.
    pub seconds: f64,
}

impl Validation {
    /// What trackers plot, by tag; what was not measured is left out.
    pub fn scalars(&self) -> Vec<(&'static str, f64)> {
        let scalars = [
            ("validation/loss_true", self.loss_true),
            ("validation/loss_shuffled", self.loss_shuffled),
            ("validation/loss_zero", self.loss_zero),
            ("validation/control_gain", self.control_gain),
            ("validation/control_norm", Some(self.control_norm)),
        ];
        let measured = scalars.into_iter().filter_map(|(tag, value)| Some((tag, value?)));
        measured.chain(self.fidelity.scalars()).collect()
    }
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
    /// How well it follows its control image.
    #[serde(flatten)]
    pub fidelity: Fidelity,
}

/// How well pictures follow their control images. Only what means something is there: edges where control images are
/// edge maps, blurred likeness where they are copies, colours where they are those of the pictures; of poses, depth and
/// segmentation nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Fidelity {
    /// The part of the picture's edges that the control image has, within one pixel for each 512 of the side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_precision: Option<f64>,
    /// The part of the control image's edges that the picture has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_recall: Option<f64>,
    /// The harmonic mean of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_f1: Option<f64>,
    /// The same against the control image of another pair: what chance gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_f1_shuffled: Option<f64>,
    /// SSIM of picture and control image after both are blurred, 1 at best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blur_ssim: Option<f64>,
    /// The same against the control image of another pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blur_ssim_shuffled: Option<f64>,
    /// Mean distance of the colours of picture and control image in CIELAB, 0 at best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour_distance: Option<f64>,
    /// The same against the control image of another pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour_distance_shuffled: Option<f64>,
}

impl Fidelity {
    /// What was measured, by tag.
    fn scalars(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let scalars = [
            ("validation/edge_precision", self.edge_precision),
            ("validation/edge_recall", self.edge_recall),
            ("validation/edge_f1", self.edge_f1),
            ("validation/edge_f1_shuffled", self.edge_f1_shuffled),
            ("validation/blur_ssim", self.blur_ssim),
            ("validation/blur_ssim_shuffled", self.blur_ssim_shuffled),
            ("validation/colour_distance", self.colour_distance),
            ("validation/colour_distance_shuffled", self.colour_distance_shuffled),
        ];
        scalars.into_iter().filter_map(|(tag, value)| Some((tag, value?)))
    }

    /// The mean of each value over the pictures that have it.
    pub(crate) fn mean<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mean = |value: fn(&Self) -> Option<f64>| {
            let (sum, count) =
                all.clone().filter_map(value).fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
            (count > 0).then(|| sum / f64::from(count))
        };
        Self {
            edge_precision: mean(|fidelity| fidelity.edge_precision),
            edge_recall: mean(|fidelity| fidelity.edge_recall),
            edge_f1: mean(|fidelity| fidelity.edge_f1),
            edge_f1_shuffled: mean(|fidelity| fidelity.edge_f1_shuffled),
            blur_ssim: mean(|fidelity| fidelity.blur_ssim),
            blur_ssim_shuffled: mean(|fidelity| fidelity.blur_ssim_shuffled),
            colour_distance: mean(|fidelity| fidelity.colour_distance),
            colour_distance_shuffled: mean(|fidelity| fidelity.colour_distance_shuffled),
        }
    }
}

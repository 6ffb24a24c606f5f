//! What a run measures of itself: lines of `metrics.jsonl` and `validation.jsonl`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    /// Samples of this step over the time it took.
    pub samples_per_second: f64,
    /// The most memory that the process has held.
    pub peak_memory_bytes: u64,
    /// Time that the training thread waited for the step's samples.
    #[serde(default)]
    pub data_seconds: f64,
}

impl StepMetrics {
    /// What trackers plot, by tag.
    pub fn scalars(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("loss", self.loss),
            ("lr", self.lr),
            ("grad_norm", self.grad_norm),
            ("samples_per_second", self.samples_per_second),
        ]
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
    /// How well the pictures follow their control images, where those are edge maps: the mean F1 score of the edges
    /// found in a picture again, with a tolerance of one pixel.
    #[serde(default)]
    pub edge_f1: Option<f64>,
    /// The same against the control image of another pair: what chance gives.
    #[serde(default)]
    pub edge_f1_shuffled: Option<f64>,
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
            ("validation/edge_f1", self.edge_f1),
            ("validation/edge_f1_shuffled", self.edge_f1_shuffled),
        ];
        scalars.into_iter().filter_map(|(tag, value)| Some((tag, value?))).collect()
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
    /// F1 score of its edges against its control image, where that is an edge map.
    #[serde(default)]
    pub edge_f1: Option<f64>,
    /// The same against the control image of another pair.
    #[serde(default)]
    pub edge_f1_shuffled: Option<f64>,
}

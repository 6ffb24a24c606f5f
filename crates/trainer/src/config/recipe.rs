//! What decides the numbers of a run.

use cogview4_model::ComputeDtype;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, TrainError},
    names::names,
    optimizer::AdamWConfig,
    schedule::{learning_rate::LrSchedule, timesteps::TimestepDensity},
};

/// What decides the numbers of a run; a resumed run must have the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Side of the pictures.
    pub resolution: u32,
    /// Captions are cut to this many tokens.
    pub max_sequence_length: usize,
    /// Samples of a micro-batch.
    pub train_batch_size: usize,
    /// Micro-batches of a step.
    pub gradient_accumulation_steps: usize,
    /// Part of the samples that lose their caption.
    pub proportion_empty_prompts: f64,
    /// Gradients are scaled to this norm at most.
    pub max_grad_norm: f64,
    /// The learning rate.
    pub schedule: LrSchedule,
    /// The optimiser.
    pub adam: AdamWConfig,
    /// Timesteps and loss weights.
    pub density: TimestepDensity,
    /// Which noise level the loss weighting sees.
    pub weighting_sigma: WeightingSigma,
    /// Which of a row's captions is used.
    pub caption_choice: CaptionChoice,
    /// Whether the control latents are drawn from their posterior, and not its mean.
    pub sample_control_latents: bool,
    /// Whether pads are hidden.
    pub strict_text_mask: bool,
    /// Whether the text encoder's matrices are in 8 bits; where its files hold them so, they always are.
    #[serde(default)]
    pub int8_text_encoder: bool,
    /// Type of weights and matrix products; parameters have f32 masters all the same, unless they are rounded at random.
    pub compute_dtype: ComputeDtype,
    /// Whether the optimiser's moments are in 8 bits.
    #[serde(default)]
    pub use_8bit_adam: bool,
    /// Whether parameters in bfloat16 have no f32 masters, and steps are rounded at random.
    #[serde(default)]
    pub stochastic_rounding: bool,
    /// Whether a block is updated as soon as its gradients are there, clipped by the norm of the step before.
    #[serde(default)]
    pub optimizer_in_backward: bool,
    /// Whether only the blocks and the patch embedding are trained.
    pub only_target_transformer_blocks: bool,
    /// Whether a control model is trained. Without control it is the base model that learns pictures from captions;
    /// control images are not looked at then, though rows have them.
    #[serde(default = "yes")]
    pub control: bool,
}

impl Recipe {
    /// Checks numbers against their ranges; errors name the setting.
    pub(crate) fn check(&self) -> Result<()> {
        let parts = [
            ("proportion_empty_prompts", self.proportion_empty_prompts, 1.0),
            ("adam_beta1", self.adam.beta1, 1.0 - f64::EPSILON),
            ("adam_beta2", self.adam.beta2, 1.0 - f64::EPSILON),
        ];
        if let Some((name, value, _)) = parts.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
            return Err(TrainError::setting(name, format!("{value} is not between 0 and 1")));
        }
        let not_negative = [
            ("learning_rate", self.schedule.learning_rate),
            ("adam_weight_decay", self.adam.weight_decay),
            ("adam_epsilon", self.adam.epsilon),
            ("max_grad_norm", self.max_grad_norm),
            ("logit_std", self.density.logit_std),
        ];
        if let Some((name, value)) = not_negative.into_iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return Err(TrainError::setting(name, format!("{value} is not a number from 0 up")));
        }
        // Below what f32 holds, values without gradient would be divided by zero.
        if self.adam.epsilon < f64::from(f32::MIN_POSITIVE) {
            let reason =
                format!("{:e} is nothing: values whose gradient is zero would be no numbers", self.adam.epsilon);
            return Err(TrainError::setting("adam_epsilon", reason));
        }
        let finite = [
            ("lr_power", self.schedule.power),
            ("logit_mean", self.density.logit_mean),
            ("mode_scale", self.density.mode_scale),
        ];
        if let Some((name, value)) = finite.into_iter().find(|(_, value)| !value.is_finite()) {
            return Err(TrainError::setting(name, format!("{value} is not a finite number")));
        }
        if self.stochastic_rounding && self.compute_dtype == ComputeDtype::Float32 {
            let reason = "weights in float32 are not rounded: it needs `mixed_precision` bf16";
            return Err(TrainError::setting("stochastic_rounding", reason));
        }
        Ok(())
    }

    /// As it comes back from a checkpoint.
    pub(crate) fn through_json(&self) -> Self {
        let text = serde_json::to_string(self).expect("invariant: numbers and names");
        serde_json::from_str(&text).expect("invariant: written above")
    }

    /// Whether a parameter is trained.
    pub(crate) fn is_trained(&self, key: &str) -> bool {
        !self.only_target_transformer_blocks
            || key.starts_with("transformer_blocks.")
            || key.starts_with("patch_embed.proj.")
    }
}

fn yes() -> bool {
    true
}

impl Default for Recipe {
    /// The reference's.
    fn default() -> Self {
        Self {
            resolution: 1024,
            max_sequence_length: 128,
            train_batch_size: 4,
            gradient_accumulation_steps: 1,
            proportion_empty_prompts: 0.0,
            max_grad_norm: 1.0,
            schedule: LrSchedule::default(),
            adam: AdamWConfig::default(),
            density: TimestepDensity::default(),
            weighting_sigma: WeightingSigma::Unshifted,
            caption_choice: CaptionChoice::Random,
            sample_control_latents: false,
            strict_text_mask: false,
            int8_text_encoder: false,
            compute_dtype: ComputeDtype::Float32,
            use_8bit_adam: false,
            stochastic_rounding: false,
            optimizer_in_backward: false,
            only_target_transformer_blocks: false,
            control: true,
        }
    }
}

/// Which of a row's captions is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptionChoice {
    /// Another one each epoch, seeded.
    Random,
    /// The longest.
    Longest,
    /// The first.
    First,
}

/// Which noise level the loss weighting sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightingSigma {
    /// The one before shifting, as the reference.
    Unshifted,
    /// The one that the sample has.
    Shifted,
}

names!(CaptionChoice { Random = "random", Longest = "longest", First = "first" });
names!(WeightingSigma { Unshifted = "unshifted", Shifted = "shifted" });

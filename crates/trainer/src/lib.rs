//! Training of CogView4 Control models: the step, the optimiser, the schedule, checkpoints, and the binary
//! `train_control_cogview4`.

pub mod args;
mod batch;
pub mod bench;
mod callbacks;
pub mod check;
mod checkpoint;
pub mod cli;
mod config;
mod data;
mod dump;
mod error;
mod features;
#[cfg(test)]
mod fixture_tests;
mod gradients;
mod loader;
mod optimizer;
mod plan;
mod recompute;
mod schedule;
mod space;
mod step;
mod stop;
mod trackers;
mod trainer;
mod vae;
mod validation;
mod weighting;

pub use callbacks::{Callbacks, StepMetrics};
pub use config::{
    CaptionChoice, Numerics, Packing, Resume, TrainConfig, ValidationConfig, ValidationPair, WeightingSigma,
};
pub use data::{DataConfig, DataSource};
pub use error::{Result, TrainError};
pub use optimizer::{AdamW, AdamWConfig, clip_grad_norm};
pub use schedule::{LrSchedule, LrScheduler};
pub use stop::StopFlag;
pub use trainer::{TrainOutcome, Trainer};
pub use vae::{VaeStepMetrics, VaeTrainConfig, VaeTrainer};
pub use validation::{Validation, ValidationImage};
pub use weighting::{TimestepDensity, WeightingScheme};

//! Training of CogView4 Control models: the step, the optimiser, the schedule, checkpoints, and the binary
//! `train_control_cogview4`.

pub mod args;
mod batch;
mod checkpoint;
pub mod cli;
mod config;
mod dump;
mod error;
mod features;
#[cfg(test)]
mod fixture_tests;
mod loader;
mod metrics;
mod optimizer;
mod plan;
mod schedule;
mod space;
mod step;
mod trainer;
mod weighting;

pub use config::{CaptionChoice, DataSource, Resume, TrainConfig, WeightingSigma};
pub use error::{Result, TrainError};
pub use optimizer::{AdamW, AdamWConfig, clip_grad_norm};
pub use schedule::{LrSchedule, LrScheduler};
pub use trainer::Trainer;
pub use weighting::{TimestepDensity, WeightingScheme};

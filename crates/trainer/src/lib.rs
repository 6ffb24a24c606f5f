//! Training of CogView4 Control models: the step, the optimiser, the schedule, checkpoints, and the binary
//! `train_control_cogview4`.

mod autoencoder;
#[doc(hidden)]
pub mod bench;
mod checkpoint;
pub mod cli;
mod config;
mod distributed;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
mod names;
mod optimizer;
mod page;
pub mod plan;
mod run;
mod samples;
mod schedule;
mod step;
mod stop;
#[cfg(test)]
mod tests;
mod trackers;
mod validation;

pub use autoencoder::{VaeStepMetrics, VaeTrainConfig, VaeTrainer};
pub use config::{
    CaptionChoice, CardConfig, Offload, Packing, Recipe, Resume, TrackerKind, TrainConfig, ValidationConfig,
    ValidationPair, WandbConfig, WeightingSigma, ZeroStage,
};
pub use distributed::Group;
pub use error::{Result, TrainError};
pub use metrics::{Fidelity, ProcessMetrics, StepMetrics, Validation, ValidationImage};
pub use optimizer::{AdamW, AdamWConfig, Gradients, StateOptions, StatePlace};
pub use run::{Callbacks, TrainOutcome, Trainer, is_published};
pub use schedule::{
    learning_rate::{LrSchedule, SchedulerType},
    timesteps::{TimestepDensity, WeightingScheme},
};
pub use stop::StopFlag;

//! Training of CogView4 Control models: the step, the optimiser, the schedule, checkpoints, and the binary
//! `train_control_cogview4`.

mod autoencoder;
pub mod bench;
mod checkpoint;
pub mod cli;
mod config;
mod error;
mod optimizer;
mod resources;
mod run;
mod samples;
mod schedule;
mod step;
mod stop;
mod trackers;
mod validation;

pub use autoencoder::{VaeStepMetrics, VaeTrainConfig, VaeTrainer};
pub use cli::dataset::{DataConfig, DataSource};
pub use config::{
    CaptionChoice, Numerics, Packing, Resume, TrainConfig, ValidationConfig, ValidationPair, WeightingSigma,
};
pub use error::{Result, TrainError};
pub use optimizer::adamw::{AdamW, AdamWConfig, clip_grad_norm};
pub use run::callbacks::{Callbacks, StepMetrics};
pub use run::{TrainOutcome, Trainer};
pub use schedule::learning_rate::{LrSchedule, LrScheduler};
pub use schedule::timesteps::{TimestepDensity, WeightingScheme};
pub use stop::StopFlag;
pub use validation::{Validation, ValidationImage};

//! The parts of CogView4 Control, tensors in and tensors out: the diffusion transformer, the VAE, the text
//! encoder and the scheduler, with their weights and the random numbers that make a seed mean the same picture as
//! in diffusers. Images and prompts belong to `cogview4-control-pipeline`.
//!
//! Letters in shapes: `B` batch, `C` channels, `H` and `W` height and width, `S` sequence, `D` width of the model,
//! `N` heads. Module fields are named as the segments of the checkpoint's keys, so loading needs no table of names.

pub mod activations;
mod config_file;
pub mod device;
mod error;
pub mod fence;
pub mod files;
pub mod memory;
pub mod nn;
pub mod ops;
pub mod rng;
pub mod scheduler;
pub mod text_encoder;
pub mod transformer;
pub mod vae;
pub mod weights;

pub use device::{ComputeDtype, DeviceSpec, each, is_flex};
pub use error::{ModelError, Result};
pub use rng::TorchGenerator;
pub use scheduler::{FlowMatchEulerScheduler, FlowMatchEulerSchedulerConfig};
pub use text_encoder::{GlmConfig, GlmModel};
pub use transformer::{CogView4Transformer, CogView4TransformerConfig};
pub use vae::{AutoencoderKl, AutoencoderKlConfig};

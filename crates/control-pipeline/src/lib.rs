//! Images and prompts in, images out: [`CogView4ControlPipeline`] and [`CogView4Pipeline`], with the image and text
//! handling around the models of `cogview4-model`. The API follows diffusers' `CogView4ControlPipeline` and
//! controlnet_aux's `CannyDetector`.

mod canny;
pub mod demo;
mod error;
mod fidelity;
mod finite;
mod image;
mod pipeline;
pub mod plan;
mod progress;
mod tokenizer;

pub use canny::CannyDetector;
pub use error::{PipelineError, Result};
pub use fidelity::{EdgeAgreement, blur_ssim, colour_distance, edge_f1, palette_distance};
pub use finite::check_finite;
pub use image::{
    Filter, PictureError, VaeImageProcessor, check_image_output, decode_image, encode_png, load_image, numbered,
    open_image, resize, save_image, shown,
};
pub use pipeline::{
    CogView4ControlPipeline, CogView4Pipeline, CogView4PipelineOutput, Component, ComponentParts, Components,
    Conditioning, Control, ControlImage, ControlLatents, ControlRequest, DiffusionPipeline, InputChannels,
    MAX_GUIDANCE, MAX_IMAGES, MAX_STEPS, ModelFolder, OutputType, ParseControlLatentsError, PipelineConfigs,
    PipelineFolder, PipelineLoader, PipelineRequest, PipelineSource, Prompt, PromptEmbeds, Sampler, StepEnd,
    TextRequest, TransformerSource, convert, fetch_model,
};
#[doc(hidden)]
pub use progress::progress_bar;
pub use tokenizer::{PromptTokenizer, TokenizedPrompt};

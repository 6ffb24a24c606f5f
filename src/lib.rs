//! Fine-tune and run CogView4 Control models.
//!
//! This package only re-exports: what most programs need at the top, the crates by name. See the README for the two
//! commands to start with, and ARCHITECTURE.md for what lives where.
//!
//! ```no_run
//! use cogview4::{CannyDetector, CogView4ControlPipeline, ControlRequest, open_image};
//!
//! let pipe = CogView4ControlPipeline::from_pretrained("path/to/pipeline").load()?;
//! let edges = CannyDetector::default().detect(&open_image("photo.png")?)?;
//! let output = pipe.generate(&ControlRequest::new("a cat in the snow", edges).seed(42))?;
//! output.images[0].save("cogview4.png")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use cogview4_control_pipeline as pipeline;
pub use cogview4_data as data;
pub use cogview4_hub as hub;
pub use cogview4_model as model;
pub use cogview4_trainer as trainer;

pub use cogview4_control_pipeline::{
    CannyDetector, CogView4ControlPipeline, CogView4Pipeline, CogView4PipelineOutput, ComponentParts, Components,
    Conditioning, Control, ControlImage, ControlLatents, ControlRequest, DiffusionPipeline, OutputType, PipelineError,
    PipelineFolder, PipelineLoader, PipelineRequest, PipelineSource, Prompt, PromptEmbeds, PromptTokenizer, Sampler,
    StepEnd, TextRequest, TransformerSource, VaeImageProcessor, demo, edge_f1, load_image, open_image, save_image,
};

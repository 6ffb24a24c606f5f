//! Validation, as it is configured.

use serde::Serialize;

/// How often a run is measured, and which pictures it generates then.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValidationConfig {
    /// Each time that this many steps are made, and at the end; before the first step it is only measured.
    pub steps: usize,
    /// What is generated; nothing where this is empty.
    pub pairs: Vec<ValidationPair>,
    /// Pictures of each pair.
    pub num_validation_images: usize,
    /// Scale of the guidance, off at 1 and below.
    pub guidance_scale: f64,
}

/// A prompt and the control image that its pictures follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValidationPair {
    /// The prompt.
    pub prompt: String,
    /// Path or URL of the control image, used as it is.
    #[serde(serialize_with = "super::shown::location")]
    pub image: String,
}

impl Default for ValidationConfig {
    /// The reference's.
    fn default() -> Self {
        Self { steps: 100, pairs: Vec::new(), num_validation_images: 1, guidance_scale: 3.5 }
    }
}

//! Training data for CogView4 Control models: from pictures and captions to tensors.

mod transform;

pub use transform::ImageTransform;

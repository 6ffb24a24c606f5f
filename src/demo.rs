//! The demo pipeline that comes with the source: small, complete, in diffusers layout. Its weights are random for now,
//! so its pictures show that everything runs, not what a trained model draws.

use std::path::{Path, PathBuf};

/// A prompt for the demo pipeline.
pub const PROMPT: &str = "a cat with green eyes, close-up photograph";

/// The folder of the demo pipeline.
pub fn pipeline() -> PathBuf {
    assets().join("demo")
}

/// Path of a photograph to take the edges of.
pub fn control_image() -> String {
    assets().join("chelsea.png").display().to_string()
}

fn assets() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/assets"))
}

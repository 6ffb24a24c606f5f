//! The demo pipeline that comes with the source: small, complete, in diffusers layout, trained on drawings by the
//! example `make_demo`. `assets/demo/README.md` says how and what it can do.

use std::path::{Path, PathBuf};

/// A prompt for the demo pipeline, in the form of the captions that it was trained on.
pub const PROMPT: &str = "a orange fox face, animals & nature, on a white background";

/// The folder of the demo pipeline.
pub fn pipeline() -> PathBuf {
    assets().join("demo")
}

/// The folder of the transformer without control that the demo's was widened from.
pub fn base_transformer() -> PathBuf {
    pipeline().join("base_transformer")
}

/// Path of a drawing to take the edges of.
pub fn control_image() -> PathBuf {
    drawing("fox")
}

/// Path of a drawing that the demo was not trained on: `fox`, `horse`, `seedling`, `boot`, `balloon` or `star`.
pub fn drawing(name: &str) -> PathBuf {
    pipeline().join("drawings").join(name).with_extension("png")
}

fn assets() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    workspace.expect("invariant: this crate is within the workspace").join("assets")
}

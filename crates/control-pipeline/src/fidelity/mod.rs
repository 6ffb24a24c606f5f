//! How well a picture follows its control image: edges found again, blurred pictures alike, colours alike.

mod blur;
mod colours;
mod edges;

pub use blur::blur_ssim;
pub use colours::{colour_distance, palette_distance};
pub use edges::{EdgeAgreement, edge_f1};

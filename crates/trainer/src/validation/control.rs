//! The control images that validation pictures follow.

use cogview4_control_pipeline::{Filter, load_image, resize};
use image::RgbImage;

use crate::{
    config::{TrainConfig, ValidationPair},
    error::{Result, TrainError},
};

/// Folder of the pictures, in the output folder.
pub(crate) const FOLDER: &str = "validation";

/// A prompt with its control image, loaded.
pub(crate) struct ControlPicture {
    pub prompt: String,
    /// As the model sees it: a square of the run's resolution.
    pub image: RgbImage,
}

/// Loads the control images of a run. A program that is to stop may end meanwhile, as for what the Hub gives: a server
/// may take a minute for each.
pub(crate) fn load_controls(config: &TrainConfig) -> Result<Vec<ControlPicture>> {
    let _waiting = config.hub.progress().waiting();
    let side = config.recipe.resolution;
    let load = |pair: &ValidationPair| {
        let image =
            load_image(&pair.image).map_err(|error| TrainError::setting("validation_image", error.to_string()))?;
        Ok(ControlPicture { prompt: pair.prompt.clone(), image: resize(&image, side, side, Filter::Lanczos) })
    };
    config.validation.pairs.iter().map(load).collect()
}

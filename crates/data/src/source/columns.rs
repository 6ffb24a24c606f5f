//! Names of the columns.

use crate::error::{DataError, Result};

/// Names of the columns that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Of the picture to learn: the setting `image_column`.
    pub image: String,
    /// Of the control image: the setting `conditioning_image_column`.
    pub conditioning_image: String,
    /// Of the captions: the setting `caption_column`.
    pub caption: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self { image: "image".into(), conditioning_image: "conditioning_image".into(), caption: "text".into() }
    }
}

impl Columns {
    /// Checks that all are among the columns of a data set.
    pub(super) fn check(&self, available: &[String]) -> Result<()> {
        for (setting, column) in [
            ("image_column", &self.image),
            ("conditioning_image_column", &self.conditioning_image),
            ("caption_column", &self.caption),
        ] {
            if !available.contains(column) {
                return Err(DataError::Column { setting, column: column.clone(), available: available.join(", ") });
            }
        }
        Ok(())
    }
}

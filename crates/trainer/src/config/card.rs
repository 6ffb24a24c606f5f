//! What a model card says that a run cannot know.

use cogview4_hub::RepoId;
use serde::Serialize;

use crate::error::{Result, TrainError};

/// What the model card says of where things come from; all of it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CardConfig {
    /// Name of the base model on the Hub, such as `THUDM/CogView4-6B`.
    pub base_model: Option<String>,
    /// Name of the data set on the Hub.
    pub dataset: Option<String>,
    /// Name that the trained model has on the Hub.
    pub hub_model_id: Option<String>,
    /// The command line that made the run, without secrets.
    pub command_line: Option<String>,
}

impl CardConfig {
    /// The Hub refuses a card with other names.
    pub(super) fn check(&self) -> Result<()> {
        let names = [("base_model", &self.base_model), ("dataset", &self.dataset)];
        match names.into_iter().find(|(_, name)| name.as_deref().is_some_and(|name| name.parse::<RepoId>().is_err())) {
            Some((setting, name)) => {
                let name = name.as_deref().unwrap_or_default();
                Err(TrainError::setting(setting, format!("`{name}` is not a name on the Hub, as `owner/name`")))
            }
            None => Ok(()),
        }
    }
}

//! Where a pipeline comes from: folders, or names on the Hub whose files are brought to the disk.

use std::path::PathBuf;

use cogview4_hub::{
    Hub, HubError, Repo, Source,
    choose::{model_files, pipeline_files},
};

use super::{Component, PipelineFolder, model_folder::MODEL_INDEX};
use crate::error::Result;

/// A pipeline, and what is taken in place of its own transformer: each a folder, or a name on the Hub.
///
/// ```no_run
/// use cogview4_control_pipeline::{Component, PipelineSource};
///
/// let folder = PipelineSource::new("THUDM/CogView4-6B").fetch(&Component::ALL)?;
/// # Ok::<(), cogview4_control_pipeline::PipelineError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PipelineSource {
    /// The pipeline.
    pub pipeline: Source,
    /// A component of its own, such as `checkpoint-500/transformer`; on the Hub a repository of one component, or a
    /// pipeline.
    pub transformer: Option<Source>,
    /// The variant of the weights, such as `fp16`.
    pub variant: Option<String>,
    /// The Hub that names are of.
    pub hub: Hub,
}

impl PipelineSource {
    /// A pipeline with its own transformer, from the Hub of Hugging Face if it is a name.
    pub fn new(pipeline: impl Into<Source>) -> Self {
        Self { pipeline: pipeline.into(), transformer: None, variant: None, hub: Hub::default() }
    }

    /// Brings the components that are needed to the disk, unless they are there, and gives the folder.
    ///
    /// # Errors
    /// A name that the Hub does not have or gives, a component without safetensors, or a download that fails.
    pub fn fetch(&self, components: &[Component]) -> Result<PipelineFolder> {
        let own = |component: &Component| *component != Component::Transformer || self.transformer.is_none();
        let own: Vec<&str> = components.iter().copied().filter(own).map(Component::name).collect();
        let folder = PipelineFolder::new(self.fetch_pipeline(&own)?);
        let folder = match self.transformer.as_ref().filter(|_| components.contains(&Component::Transformer)) {
            Some(source) => folder.with(Component::Transformer, self.fetch_transformer(source)?),
            None => folder,
        };
        Ok(match &self.variant {
            Some(variant) => folder.with_variant(variant),
            None => folder,
        })
    }

    fn fetch_pipeline(&self, components: &[&str]) -> Result<PathBuf> {
        let (id, revision) = match &self.pipeline {
            Source::Folder(path) => return Ok(path.clone()),
            Source::Hub { id, revision } => (id.clone(), revision.clone()),
        };
        let listing = self.hub.list(&Repo::model(id).with_revision(revision))?;
        // A variant is held against all components when their configurations are read.
        let chosen = match pipeline_files(&listing, components, self.variant.as_deref()) {
            Err(HubError::NoWeights { .. }) if self.variant.is_some() => pipeline_files(&listing, components, None),
            chosen => chosen,
        }?;
        Ok(self.hub.download(&listing, chosen)?)
    }

    fn fetch_transformer(&self, source: &Source) -> Result<PathBuf> {
        let (id, revision) = match source {
            Source::Folder(path) => return Ok(path.clone()),
            Source::Hub { id, revision } => (id.clone(), revision.clone()),
        };
        let listing = self.hub.list(&Repo::model(id).with_revision(revision))?;
        let name = Component::Transformer.name();
        let folder = if listing.file(&format!("{name}/config.json")).is_some() { name } else { "" };
        let chosen = match model_files(&listing, folder, self.variant.as_deref()) {
            Err(HubError::NoWeights { .. }) if self.variant.is_some() => model_files(&listing, folder, None),
            chosen => chosen,
        }?;
        Ok(self.hub.download(&listing, chosen)?.join(folder))
    }
}

/// Brings a model of either kind to the disk: a pipeline with all its components, or one component. A folder stays
/// where it is.
///
/// # Errors
/// A name that the Hub does not have or gives, no safetensors, or a download that fails.
pub fn fetch_model(source: &Source, hub: &Hub) -> Result<PathBuf> {
    let repo = match source {
        Source::Folder(path) => return Ok(path.clone()),
        Source::Hub { id, revision } => Repo::model(id.clone()).with_revision(revision.clone()),
    };
    let listing = hub.list(&repo)?;
    let chosen = match listing.file(MODEL_INDEX) {
        Some(_) => pipeline_files(&listing, &Component::ALL.map(Component::name), None)?,
        None => model_files(&listing, "", None)?,
    };
    Ok(hub.download(&listing, chosen)?)
}

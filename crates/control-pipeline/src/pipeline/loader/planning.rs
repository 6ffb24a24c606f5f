//! Plans of a pipeline that is not loaded yet.

use super::{Component, Conditioning, PipelineLoader};
use crate::{
    error::Result,
    pipeline::PipelineRequest,
    plan::{DrawingPlan, DrawingSettings, Machine, PipelineWeights, Planner},
};

impl<C: Conditioning> PipelineLoader<C> {
    /// How the pipeline would be held and computed, as far as it is set here.
    pub fn settings(&self) -> DrawingSettings {
        DrawingSettings { device: self.device, dtype: self.dtype, ..DrawingSettings::default() }
    }

    /// Gets ready to plan a request: reads configurations, headers of weight files and the tokenizer, but no weights.
    ///
    /// # Errors
    /// As [`load`](Self::load) but for broken weights, and a request that is out of range.
    pub fn planner(&self, request: &PipelineRequest<C>) -> Result<Planner> {
        let configs = self.read_configs()?;
        let folder = self.folder()?;
        let is_there = |component: &Component| *component != Component::Transformer || self.transformer.is_none();
        let components: Vec<Component> = Component::ALL.into_iter().filter(is_there).collect();
        let weights = PipelineWeights::read(folder, &components)?;
        let task = request.task(&configs, &folder.load_tokenizer()?)?;
        Ok(Planner::new(configs, weights, task, Machine::here()))
    }

    /// What a request would take with the pipeline as it is set here; times are not measured.
    ///
    /// # Errors
    /// As [`planner`](Self::planner).
    pub fn plan(&self, request: &PipelineRequest<C>) -> Result<DrawingPlan> {
        Ok(self.planner(request)?.plan(&self.settings()))
    }
}

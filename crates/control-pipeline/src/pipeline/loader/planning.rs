//! Plans of a pipeline that is not loaded yet.

use super::{Conditioning, PipelineLoader, input_channels};
use crate::{
    error::Result,
    pipeline::{InputChannels, PipelineConfigs, PipelineRequest},
    plan::{DrawingPlan, DrawingSettings, DrawingTask, Machine, PipelineWeights, Planner},
};

impl<C: Conditioning> PipelineLoader<C> {
    /// How the pipeline would be held and computed, as far as it is set here.
    pub fn settings(&self) -> DrawingSettings {
        self.settings
    }

    /// Gets ready to plan a request: reads configurations, headers of weight files and the tokenizer, but no weights.
    ///
    /// # Errors
    /// As [`load`](Self::load) but for broken weights, and a request that is out of range.
    pub fn planner(&self, request: &PipelineRequest<C>) -> Result<Planner> {
        let configs = self.read_configs()?;
        let task = request.task(&configs, self.tokenizer()?)?;
        self.planner_of(configs, task)
    }

    /// Plans a picture of the default size, with guidance and prompts as long as they get.
    pub(super) fn default_planner(&self) -> Result<Planner> {
        let configs = self.read_configs()?;
        let task = DrawingTask::of_default_size(&configs, input_channels::<C>() == InputChannels::Control);
        self.planner_of(configs, task)
    }

    fn planner_of(&self, configs: PipelineConfigs, task: DrawingTask) -> Result<Planner> {
        let weights = PipelineWeights::read(self.folder()?, &self.components())?;
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

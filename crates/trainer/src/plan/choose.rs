//! What goes to the disk, and the cheapest settings that fit.

use cogview4_control_pipeline::plan::Place;
use cogview4_model::ComputeDtype;

use super::{TrainPlan, TrainPlanner};
use crate::{
    config::{Offload, TrainConfig},
    error::Result,
};

/// Times that differ by less than this part are the same.
const SAME_PART: f64 = 0.1;

/// What changes numbers, what does so least first; each with those before it.
const CHANGES: [fn(&mut TrainConfig); 4] = [
    |config| {
        if config.save_dtype == config.recipe.compute_dtype {
            config.save_dtype = ComputeDtype::BFloat16;
        }
        config.recipe.compute_dtype = ComputeDtype::BFloat16;
    },
    |config| config.recipe.use_8bit_adam = true,
    |config| {
        config.gradient_checkpointing = true;
        config.recipe.optimizer_in_backward = true;
    },
    |config| config.recipe.stochastic_rounding = true,
];

impl TrainPlanner {
    /// The settings, with what does not fit into the memory that the run may have on the disk, what costs least first.
    /// It changes no number.
    pub(super) fn placed(&self, config: &TrainConfig) -> TrainConfig {
        let mut config = config.clone();
        let Some(most) = config.max_memory else { return config };
        let moves: [fn(&mut TrainConfig); 3] = [
            |config| config.optimizer_offload = Offload::Disk,
            |config| config.gradient_offload = Offload::Disk,
            |config| config.param_offload = if config.device.is_cpu() { Offload::Disk } else { config.param_offload },
        ];
        for to_disk in moves {
            let mut moved = config.clone();
            to_disk(&mut moved);
            let [before, after] = [&config, &moved].map(|config| self.held_bytes(config));
            if before > most && after < before {
                config = moved;
            }
        }
        config
    }

    /// The most that a stage behind the packing holds.
    fn held_bytes(&self, config: &TrainConfig) -> u64 {
        let stages = self.stages(config);
        let stages = stages.iter().filter(|stage| stage.name != "pack");
        stages.map(|stage| stage.bytes(Place::Anonymous)).max().unwrap_or_default()
    }

    /// The cheapest plan that fits: that which changes numbers least, and of those the fastest. What is not the default
    /// stays, and a run that is resumed keeps its numbers. `None` where nothing fits.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn cheapest(&self, config: &TrainConfig) -> Result<Option<TrainPlan>> {
        for config in self.ladder(config) {
            let plans = self.plans(&config)?.into_iter().filter(TrainPlan::fits);
            // In the order of how much they change, so that what comes first wins where times are about the same.
            let fastest = plans.reduce(|best, plan| match (best.step_seconds, plan.step_seconds) {
                (Some(least), Some(seconds)) if seconds < least * (1.0 - SAME_PART) => plan,
                _ => best,
            });
            if fastest.is_some() {
                return Ok(fastest);
            }
        }
        Ok(None)
    }

    /// The plan with the least memory, for when nothing fits.
    pub(super) fn smallest(&self, config: &TrainConfig) -> Result<TrainPlan> {
        let mut least = self.plan(config)?;
        for config in self.ladder(config) {
            for plan in self.plans(&config)? {
                if plan.needed_bytes() < least.needed_bytes() {
                    least = plan;
                }
            }
        }
        Ok(least)
    }

    /// The settings, then with ever more that changes numbers.
    fn ladder(&self, config: &TrainConfig) -> Vec<TrainConfig> {
        let mut ladder = vec![config.clone()];
        let changes = if config.resume.is_some() { &[] } else { &CHANGES[..] };
        for change in changes {
            let mut next = ladder[ladder.len() - 1].clone();
            change(&mut next);
            // Several processes have no whole gradients to be rid of.
            next.recipe.optimizer_in_backward &= self.processes.size == 1;
            ladder.push(next);
        }
        ladder.retain(|config| config.check().is_ok());
        ladder
    }

    /// Plans with the same numbers: what is computed again, and where things are.
    fn plans(&self, config: &TrainConfig) -> Result<Vec<TrainPlan>> {
        let mut budgets = vec![None];
        if let Some(limit) = self.machine.limit() {
            // With weights on the disk, those that are worked with have to have room beside.
            let on_disk = TrainConfig { param_offload: Offload::Disk, ..config.clone() };
            budgets.extend([limit, limit.saturating_sub(self.working_bytes(&on_disk))].map(|bytes| Some(round(bytes))));
        }
        let mut plans = Vec::new();
        for budget in budgets {
            for recompute in [false, true] {
                let mut config = config.clone();
                config.gradient_checkpointing |= recompute;
                config.offload |= budget.is_some();
                config.max_memory = config.max_memory.or(budget);
                plans.push(self.plan(&config)?);
            }
        }
        Ok(plans)
    }
}

/// Whole units of 64 MiB, so that flags can be read.
fn round(bytes: u64) -> u64 {
    (bytes >> 26 << 26).max(1 << 26)
}

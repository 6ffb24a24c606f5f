//! `train_control_cogview4 plan`: what a run would take, before anything is loaded.

use std::io::Write;

use super::Args;
use crate::{
    config::TrainConfig,
    error::{Result, TrainError},
    plan::{Processes, TrainPlan},
    run::planner,
};

/// Writes the plan of a command line: a table, whether it fits, the cheapest flags that fit, and as the last line a JSON
/// object.
///
/// # Errors
/// Flags that are out of range, or a pipeline or data set that cannot be opened. A plan that does not fit is none.
pub fn plan(mut args: Args, output: &mut dyn Write) -> Result<TrainPlan> {
    let fit = args.fit;
    let machines = args.lay_config_file()?.launch.num_machines.unwrap_or(1);
    let size = args.num_processes.unwrap_or(1).max(1);
    let processes = Processes { size, local: size.div_ceil(machines) };
    let (given, data) = args.resolve()?;
    let planner = planner(&given, data.open()?.train.len(), processes)?.measured(&given);
    let planner = match fit {
        Some(size) => planner.within(size.0),
        None => planner,
    };
    let cheapest = planner.cheapest(&given)?;
    let plan = match (fit, &cheapest) {
        (Some(_), Some(cheapest)) => cheapest.clone(),
        _ => planner.plan(&given)?,
    };
    let [table, verdict] = [planner.table(&plan), planner.verdict(&given, &plan, cheapest.as_ref())];
    let json = planner.json(&given, &plan, cheapest.as_ref());
    writeln!(output, "{table}\n\n{verdict}\n\n{json}").map_err(TrainError::io("standard output"))?;
    Ok(plan)
}

/// The settings of a run with `--fit`: those of the cheapest plan that fits.
///
/// # Errors
/// Nothing fits: says what is the least.
pub(super) fn fitted(given: TrainConfig, rows: usize, bytes: u64) -> Result<TrainConfig> {
    let planner = planner(&given, rows, Processes { size: 1, local: 1 })?.measured(&given);
    let bytes = planner.limit().map_or(bytes, |limit| limit.min(bytes));
    let planner = planner.within(bytes);
    match planner.cheapest(&given)? {
        Some(plan) => {
            let flags = plan.flags(&given);
            if !flags.is_empty() {
                cogview4_cli::note(&format!("training with {}", flags.join(" ")));
            }
            Ok(plan.config)
        }
        None => {
            Err(TrainError::setting("fit", planner.verdict(&given, &planner.plan(&given)?, None).replace('\n', "; ")))
        }
    }
}

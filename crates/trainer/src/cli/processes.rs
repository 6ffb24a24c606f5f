//! A run of several processes on the command line: as many as were asked for, and all end together.

use anyhow::Result;

use super::Args;
use crate::{
    distributed::Group,
    error::{Result as TrainResult, TrainError},
};

/// Runs something in a group. An error of one process ends all: the first prints one that all know of, else who has it
/// does, with its number and host.
pub(super) fn together(group: Group, run: impl FnOnce(&Group) -> Result<()>) -> Result<()> {
    let Err(error) = run(&group) else { return Ok(()) };
    if group.size() > 1 {
        let is_others = group.is_told() || (group.has_agreed() && !group.is_first());
        if is_others {
            // Says good-bye to the others, or is ended by the one that fails.
            drop(group);
            std::process::exit(1);
        }
        group.end_all(format!("{error:#}"));
    }
    Err(error)
}

impl Args {
    /// Lays the configuration file under the flags, and holds the number of processes against those that are there;
    /// gives what a person should know.
    pub(super) fn lay_processes(&mut self, group: &Group) -> TrainResult<Option<String>> {
        let file = self.config_file.clone();
        let is_flag = self.num_processes.is_some();
        let note = self.lay_config_file()?.note;
        let (started, wanted) = (group.size(), self.num_processes.unwrap_or(group.size()));
        if wanted != started {
            let are = if started == 1 { "1 is there" } else { &format!("{started} are there") };
            let how = format!("start them with `mpirun -np {wanted}`, or with `train_control_cogview4 launch`");
            let file = file.map_or(String::new(), |file| file.display().to_string());
            return Err(match is_flag {
                true => TrainError::setting("num_processes", format!("{wanted} are asked for, {are}: {how}")),
                false => {
                    let reason = format!("{file}: num_processes: {wanted} are asked for, {are}: {how}");
                    TrainError::setting("config_file", reason)
                }
            });
        }
        if started > 1 && self.fit.is_some() {
            let reason = "chooses for one process: let `plan` choose, and give the flags that it names";
            return Err(TrainError::setting("fit", reason));
        }
        self.num_processes = Some(started);
        Ok(note)
    }
}

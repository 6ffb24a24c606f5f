//! Which launcher has started this process, told from what it leaves in the environment.

use std::time::Duration;

use super::Group;
use crate::error::{Result, TrainError};

/// How many processes each launcher says that it has started, and what it is called.
const LAUNCHERS: [(&str, &str); 3] =
    [("OMPI_COMM_WORLD_SIZE", "mpirun"), ("PMI_SIZE", "mpirun"), ("SLURM_STEP_NUM_TASKS", "srun")];
/// What torchrun and accelerate set.
const TORCHRUN: [&str; 2] = ["WORLD_SIZE", "RANK"];

impl Group {
    /// Meets the processes that mpirun, or srun, has started together with this one. A collective that lasts longer than
    /// `limit` ends all of them.
    ///
    /// # Errors
    /// A launcher that this program cannot meet the others of, or variables of two that disagree.
    pub fn launched(limit: Duration) -> Result<Self> {
        match started(|name| std::env::var(name).ok())? {
            1 => Ok(Self::alone()),
            size => meet(size, limit),
        }
    }
}

/// How many processes were started.
fn started(variable: impl Fn(&str) -> Option<String>) -> Result<usize> {
    let number = |name: &'static str| {
        let value = variable(name)?;
        let fail = |_| TrainError::Processes(format!("{name}: `{value}` is not a number of processes"));
        Some(value.parse::<usize>().map_err(fail).map(|size| size.max(1)))
    };
    let mut found: Option<(usize, &str, &str)> = None;
    for (name, launcher) in LAUNCHERS {
        let Some(size) = number(name).transpose()? else { continue };
        match found {
            Some((other, of, _)) if other != size => return Err(disagree((of, other), (name, size))),
            _ => found = Some((size, name, launcher)),
        }
    }
    let torchrun = match variable(TORCHRUN[1]) {
        Some(_) => number(TORCHRUN[0]).transpose()?,
        None => None,
    };
    match (found, torchrun) {
        (Some((size, name, _)), Some(other)) if size != other => Err(disagree((name, size), (TORCHRUN[0], other))),
        (Some((size, ..)), _) => Ok(size),
        (None, Some(2..)) => Err(TrainError::Processes(
            "WORLD_SIZE and RANK are set, as torchrun and `accelerate launch` do: processes on CPUs meet over MPI, start \
             them with mpirun or with `train_control_cogview4 launch`"
                .into(),
        )),
        (None, _) => Ok(1),
    }
}

fn disagree((a, of_a): (&str, usize), (b, of_b): (&str, usize)) -> TrainError {
    TrainError::Processes(format!("{a} is {of_a}, {b} is {of_b}: one launcher must have started all processes"))
}

#[cfg(feature = "mpi")]
fn meet(size: usize, limit: Duration) -> Result<Group> {
    let group = super::mpi::start(size, limit)?;
    super::cores::take_own(&group);
    Ok(group)
}

#[cfg(not(feature = "mpi"))]
fn meet(size: usize, _: Duration) -> Result<Group> {
    Err(TrainError::Processes(format!("started as one of {size} processes: {}", super::WITHOUT_MPI)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<usize> {
        let value = |(_, value): &(&str, &str)| (*value).to_owned();
        started(|name| variables.iter().find(|(of, _)| *of == name).map(value))
    }

    #[test]
    fn launchers_are_told_apart() {
        for (variables, size) in [
            (&[][..], 1),
            (&[("OMPI_COMM_WORLD_SIZE", "4")], 4),
            (&[("PMI_SIZE", "2"), ("SLURM_STEP_NUM_TASKS", "2")], 2),
            (&[("PMI_SIZE", "2"), ("WORLD_SIZE", "2"), ("RANK", "1")], 2),
            (&[("WORLD_SIZE", "8")], 1),
            (&[("WORLD_SIZE", "1"), ("RANK", "0")], 1),
        ] {
            assert_eq!(of(variables).expect("a size"), size, "{variables:?}");
        }
        for (variables, culprit) in [
            (&[("OMPI_COMM_WORLD_SIZE", "4"), ("PMI_SIZE", "2")][..], "OMPI_COMM_WORLD_SIZE is 4, PMI_SIZE is 2"),
            (&[("PMI_SIZE", "2"), ("WORLD_SIZE", "8"), ("RANK", "1")], "PMI_SIZE is 2, WORLD_SIZE is 8"),
            (&[("PMI_SIZE", "two")], "PMI_SIZE: `two`"),
            (&[("WORLD_SIZE", "8"), ("RANK", "1")], "mpirun"),
        ] {
            let error = of(variables).expect_err(culprit).to_string();
            assert!(error.contains(culprit), "{error}");
        }
    }
}

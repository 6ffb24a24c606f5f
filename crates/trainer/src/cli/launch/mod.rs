//! `train_control_cogview4 launch`: starts the processes of a run, with the mpirun of the MPI that this program is built
//! with, and starts them again where they fail.

mod arguments;
mod hosts;
#[cfg(feature = "mpi")]
mod mpirun;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use cogview4_hub::Token;

use super::{Args, accelerate::LaunchConfig, with_flags};
use crate::error::TrainError;

/// Where the Hub's token is looked for.
const TOKEN_VARIABLE: &str = "HF_TOKEN";

/// The flags of a launch, beside those of the run.
#[derive(Debug, Clone, Parser)]
#[command(rename_all = "snake_case")]
pub struct LaunchArgs {
    /// The run.
    #[command(flatten)]
    pub train: Args,
    /// Machines, each with as many processes [default: num_machines of the YAML, else 1]
    #[arg(long)]
    pub num_machines: Option<usize>,
    /// Number of this machine: a run is started on machine 0 [default: machine_rank of the YAML, else 0]
    #[arg(long)]
    pub machine_rank: Option<usize>,
    /// Address of machine 0, which hosts are to reach it by [default: main_process_ip of the YAML]
    #[arg(long)]
    pub main_process_ip: Option<String>,
    /// Machines, one a line: HOST slots=N [default: deepspeed_hostfile of the YAML]
    #[arg(long)]
    pub hostfile: Option<PathBuf>,
    /// Start more processes than there are cores
    #[arg(long)]
    pub oversubscribe: bool,
    /// The program that starts them [default: the mpirun of the MPI that this program is built with]
    #[arg(long)]
    pub mpirun: Option<PathBuf>,
    /// What else it is given, such as "--mca btl_tcp_if_include eth0"
    #[arg(long, allow_hyphen_values = true)]
    pub mpirun_args: Option<String>,
    /// Start again from the newest checkpoint, at most so often, where a process fails [default: 0]
    #[arg(long)]
    pub max_restarts: Option<usize>,
    /// On so many processes, when it is started again: with more micro-batches each, so that a step keeps its samples
    /// [default: as many as before]
    #[arg(long)]
    pub restart_processes: Option<usize>,
}

/// What is started.
#[derive(Debug)]
#[cfg_attr(not(feature = "mpi"), expect(dead_code, reason = "nothing is started"))]
struct Launch {
    processes: usize,
    /// On which machines, each with the number of its processes; none for this one alone.
    hosts: Vec<(String, usize)>,
    oversubscribe: bool,
    mpirun: Option<PathBuf>,
    mpirun_args: Vec<String>,
    max_restarts: usize,
    /// Processes that go on after a failure, and micro-batches of each.
    restart: (usize, usize),
    output_dir: PathBuf,
    /// Handed on in the environment: arguments stand in the list of processes, for everybody to read.
    hub_token: Option<Token>,
}

/// Starts a run, and waits for its end.
///
/// # Errors
/// Flags or a file that cannot be used, no MPI, or the status of the run.
pub fn launch(args: LaunchArgs) -> Result<()> {
    let launch = Launch::plan(&args).map_err(with_flags)?;
    let command = arguments::of_run(std::env::args_os().skip(1));
    let command = arguments::without(&command, "--hub_token");
    start(&launch, command)
}

impl Launch {
    /// What the flags, and the file under them, say; the flags of the run are checked too.
    fn plan(args: &LaunchArgs) -> Result<Self, TrainError> {
        let mut train = args.train.clone();
        let LaunchConfig { num_machines, machine_rank, main_process_ip, hostfile, .. } =
            train.lay_config_file()?.launch;
        let num_processes = train.num_processes;
        let (config, _) = train.resolve()?;
        let missing = || TrainError::setting("num_processes", "give it, or a --config_file that has it");
        let processes = num_processes.ok_or_else(missing)?;
        let machines = args.num_machines.or(num_machines).unwrap_or(1);
        let rank = args.machine_rank.or(machine_rank).unwrap_or(0);
        if processes == 0 || machines == 0 || !processes.is_multiple_of(machines) {
            let reason = format!("{processes} are not as many on each of {machines} machines");
            return Err(TrainError::setting("num_processes", reason));
        }
        if rank > 0 {
            let reason = format!("{rank}: mpirun starts the processes of all machines from machine 0, launch it there");
            return Err(TrainError::setting("machine_rank", reason));
        }
        let hostfile = args.hostfile.clone().or(hostfile);
        let main = args.main_process_ip.clone().or(main_process_ip);
        let hosts = match hostfile.filter(|_| machines > 1) {
            Some(path) => hosts::read(&path, (machines, processes / machines), main.as_deref())?,
            None if machines > 1 => {
                let reason =
                    format!("{machines} machines: name them, one a line as `HOST slots={}`", processes / machines);
                return Err(TrainError::setting("hostfile", reason));
            }
            None => Vec::new(),
        };
        let again = args.restart_processes.unwrap_or(processes);
        if again == 0 || !processes.is_multiple_of(again) {
            let reason = format!("{again}: a step keeps its samples where {processes} is a multiple of it");
            return Err(TrainError::setting("restart_processes", reason));
        }
        Ok(Self {
            processes,
            hosts,
            oversubscribe: args.oversubscribe,
            mpirun: args.mpirun.clone(),
            mpirun_args: args.mpirun_args.iter().flat_map(|all| all.split_whitespace()).map(str::to_owned).collect(),
            max_restarts: args.max_restarts.unwrap_or(0),
            restart: (again, config.recipe.gradient_accumulation_steps * (processes / again)),
            output_dir: config.output_dir,
            hub_token: args.train.hub_token.clone(),
        })
    }
}

impl Launch {
    /// Variables of the run that are nobody else's business.
    fn secrets(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.hub_token.iter().map(|token| (TOKEN_VARIABLE, token.secret()))
    }
}

/// One process needs no MPI.
fn alone(launch: &Launch, arguments: &[std::ffi::OsString]) -> Result<()> {
    let program = std::env::current_exe().context("looking for this program")?;
    let mut command = std::process::Command::new(program);
    command.args(arguments).envs(launch.secrets());
    let status = command.status().context("starting this program")?;
    ensure!(status.success(), "the run ended with {status}");
    Ok(())
}

#[cfg(feature = "mpi")]
fn start(launch: &Launch, command: Vec<std::ffi::OsString>) -> Result<()> {
    match launch.processes {
        1 => alone(launch, &command),
        _ => mpirun::run(launch, command),
    }
}

#[cfg(not(feature = "mpi"))]
fn start(launch: &Launch, command: Vec<std::ffi::OsString>) -> Result<()> {
    let count = launch.processes;
    ensure!(count == 1, "--num_processes: {count}: {}", crate::distributed::WITHOUT_MPI);
    alone(launch, &command)
}

//! The command line of `train_control_cogview4`: flags as written (`args`), what they mean (`resolve`, `dataset`), and
//! the tasks. The library names settings; here they get the dashes of flags.

mod accelerate;
mod args;
mod card;
mod check;
mod convert;
mod dataset;
mod inspect;
mod interrupt;
mod launch;
mod plan;
mod processes;
mod push;
mod resolve;
mod tasks;
mod tf32;
mod wandb;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use cogview4_data::DataError;

use self::{
    interrupt::{INTERRUPTED, StoppableProgress},
    push::Target,
};
use crate::{
    distributed::{DEFAULT_TIMEOUT, Group},
    error::TrainError,
    run::{TrainOutcome, Trainer},
    stop::StopFlag,
};

pub use args::Args;
pub use check::check;
pub use cogview4_hub::Token;
pub use convert::{ConvertArgs, convert};
pub use dataset::{DataConfig, DataSource};
pub use inspect::{InspectArgs, inspect};
pub use launch::{LaunchArgs, launch};
pub use plan::plan;
pub use push::{PushArgs, push};
pub use tasks::{Cli, Command};

/// Signals within this time are one wish to stop: a terminal and a service manager both send to a whole group.
const ONE_WISH: Duration = Duration::from_secs(2);

/// Does what a command line asks for.
///
/// # Errors
/// Whatever the task refuses, with settings named as flags; pairs that have findings.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        None => train(cli.train),
        Some(Command::Check(args)) => {
            let report = check(*args, &mut std::io::stdout()).map_err(with_flags)?;
            ensure!(report.findings.is_empty(), "{} of {} rows have findings", report.bad_rows(), report.rows);
            Ok(())
        }
        Some(Command::Convert(args)) => convert(&args).map_err(with_flags),
        Some(Command::Launch(args)) => launch(*args),
        Some(Command::Inspect(args)) => {
            let outcome = inspect(&args, &mut std::io::stdout()).map_err(with_flags)?;
            ensure!(outcome.differences == 0, "{} of {} tensors differ", outcome.differences, outcome.tensors);
            Ok(())
        }
        Some(Command::Plan(args)) => plan(*args, &mut std::io::stdout()).map(drop).map_err(with_flags),
        Some(Command::Push(args)) => push(&args, &mut std::io::stdout()).map_err(with_flags),
    }
}

fn train(args: Args) -> Result<()> {
    // Before anything has begun that would begin twice.
    let tf32 = match args.allow_tf32 {
        true => tf32::allow(args.device.unwrap_or_default()).map_err(with_flags)?,
        false => None,
    };
    let limit = args.collective_timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    processes::together(Group::launched(limit)?, |group| train_in(group, args, tf32))
}

/// Trains as one of a group.
fn train_in(group: &Group, mut args: Args, tf32: Option<String>) -> Result<()> {
    let stop = StopFlag::default();
    ctrlc::set_handler(on_signal(stop.clone())).context("installing the signal handler")?;
    // What mpirun hands on; after any other signal Open MPI's leaves a second.
    #[cfg(feature = "mpi")]
    stop.on_signal(signal_hook::consts::SIGUSR1).context("installing the signal handler")?;
    let noted = group.agree("reading the configuration file", args.lay_processes(group));
    let is_first = group.is_first();
    for note in tf32.into_iter().chain(noted.map_err(with_flags)?).filter(|_| is_first) {
        cogview4_cli::note(&format!("note: {note}"));
    }
    let (is_sync_asked, wanted, flag) = (args.wandb_sync, args.push().filter(|_| is_first), stop.clone());
    let run = || -> Result<(TrainOutcome, Option<Target>), TrainError> {
        let fit = args.fit;
        let (mut config, mut data) = group.agree("reading the flags", args.resolve())?;
        let progress = Arc::new(StoppableProgress::new(stop.clone()));
        config.hub = config.hub.clone().with_progress(progress.clone());
        data.hub = data.hub.clone().with_progress(progress);
        let target =
            group.first("looking at the Hub", &stop, || wanted.map(|wanted| wanted.target(&config.hub)).transpose());
        let target = target?.flatten();
        if let Some(target) = &target {
            config.card.hub_model_id = Some(target.id().to_string());
        }
        config.card.command_line = Some(card::command_line(std::env::args_os()));
        wandb::lay_environment(&mut config.wandb, |name| std::env::var(name).ok());
        let data = group.first_then_others("opening the data set", &stop, || data.open())?;
        if let Some(size) = fit {
            config = group.agree("planning", plan::fitted(config, data.train.len(), size.0))?;
        }
        let trainer = Trainer::in_group(config, data, stop, group.clone())?;
        for note in trainer.notes().iter().filter(|_| is_first) {
            cogview4_cli::note(&format!("note: {note}"));
        }
        Ok((trainer.run(&mut ())?, target))
    };
    match run() {
        Err(TrainError::Stopped) => {
            if is_first {
                cogview4_cli::note("note: stopped before training began: what is packed is kept for the next time");
            }
            Ok(())
        }
        Err(error) => Err(with_flags(error)),
        Ok(_) if !is_first => Ok(()),
        Ok((outcome, target)) => {
            wandb::sync(&outcome, is_sync_asked);
            target.map_or(Ok(()), |target| push_after(outcome, target, flag))
        }
    }
}

/// What a signal does: it asks to stop, and ends the program where that was asked for before.
fn on_signal(stop: StopFlag) -> impl FnMut() + Send + 'static {
    let mut asked: Option<Instant> = None;
    move || match asked {
        // Whoever asks again does not want to wait for the end of the step.
        Some(at) if at.elapsed() > ONE_WISH => std::process::exit(INTERRUPTED),
        Some(_) => {}
        None => {
            asked = Some(Instant::now());
            stop.request();
        }
    }
}

/// Pushes what a run came to. The run is written and stays as it is, whatever happens.
fn push_after(outcome: TrainOutcome, target: Target, stop: StopFlag) -> Result<()> {
    if !outcome.completed {
        cogview4_cli::note("note: stopped, so nothing was pushed; the run that ends pushes");
        return Ok(());
    }
    // Its memory is not needed any more.
    drop(outcome);
    target.push_after(stop, &mut std::io::stdout())
}

/// An error of the library as the command line says it.
fn with_flags(error: TrainError) -> anyhow::Error {
    match &error {
        TrainError::Setting { .. } | TrainError::Data(DataError::Column { .. } | DataError::Setting { .. }) => {
            anyhow!("--{error}")
        }
        TrainError::ConfigChanged { path, difference } => {
            anyhow!("{}: {difference}: use --allow_config_change to resume all the same", path.display())
        }
        _ => error.into(),
    }
}

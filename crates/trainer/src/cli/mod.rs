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
mod plan;
mod push;
mod resolve;
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
    error::TrainError,
    run::{TrainOutcome, Trainer},
    stop::StopFlag,
};

pub use args::{Args, Cli, Command};
pub use check::check;
pub use cogview4_hub::Token;
pub use convert::{ConvertArgs, convert};
pub use dataset::{DataConfig, DataSource};
pub use inspect::{InspectArgs, inspect};
pub use plan::plan;
pub use push::{PushArgs, push};

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
        Some(Command::Inspect(args)) => {
            let outcome = inspect(&args, &mut std::io::stdout()).map_err(with_flags)?;
            ensure!(outcome.differences == 0, "{} of {} tensors differ", outcome.differences, outcome.tensors);
            Ok(())
        }
        Some(Command::Plan(args)) => plan(*args, &mut std::io::stdout()).map(drop).map_err(with_flags),
        Some(Command::Push(args)) => push(&args, &mut std::io::stdout()).map_err(with_flags),
    }
}

fn train(mut args: Args) -> Result<()> {
    let stop = StopFlag::default();
    let handle = stop.clone();
    let mut asked: Option<Instant> = None;
    let on_signal = move || match asked {
        // Whoever asks again does not want to wait for the end of the step.
        Some(at) if at.elapsed() > ONE_WISH => std::process::exit(INTERRUPTED),
        Some(_) => {}
        None => {
            asked = Some(Instant::now());
            handle.request();
        }
    };
    if let Some(note) = args.lay_config_file().map_err(with_flags)? {
        cogview4_cli::note(&format!("note: {note}"));
    }
    let is_sync_asked = args.wandb_sync;
    let wanted = args.push();
    let flag = stop.clone();
    let run = || -> Result<(TrainOutcome, Option<Target>), TrainError> {
        let fit = args.fit;
        let (mut config, mut data) = args.resolve()?;
        let progress = Arc::new(StoppableProgress::new(stop.clone()));
        config.hub = config.hub.with_progress(progress.clone());
        let target = wanted.map(|wanted| wanted.target(&config.hub)).transpose()?;
        data.hub = data.hub.with_progress(progress);
        if let Some(target) = &target {
            config.card.hub_model_id = Some(target.id().to_string());
        }
        config.card.command_line = Some(card::command_line(std::env::args_os()));
        wandb::lay_environment(&mut config.wandb, |name| std::env::var(name).ok());
        let data = data.open()?;
        if let Some(size) = fit {
            config = plan::fitted(config, data.train.len(), size.0)?;
        }
        let trainer = Trainer::stoppable(config, data, stop)?;
        for note in trainer.notes() {
            cogview4_cli::note(&format!("note: {note}"));
        }
        Ok((trainer.run(&mut ())?, target))
    };
    ctrlc::set_handler(on_signal).context("installing the signal handler")?;
    match run() {
        Err(TrainError::Stopped) => Ok(()),
        Err(error) => Err(with_flags(error)),
        Ok((outcome, target)) => {
            wandb::sync(&outcome, is_sync_asked);
            target.map_or(Ok(()), |target| push_after(outcome, target, flag))
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

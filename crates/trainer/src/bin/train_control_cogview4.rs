//! `train_control_cogview4`: the command line of the reference script.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result};
use cogview4_trainer::{TrainError, Trainer, args::Args, cli::run_main};

fn main() -> ExitCode {
    run_main(run)
}

fn run(args: Args) -> Result<()> {
    let config = args.resolve()?;
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed)).context("installing the signal handler")?;
    match Trainer::new(config, &stop).and_then(|trainer| trainer.run(&stop)) {
        Err(TrainError::Stopped) => Ok(()),
        result => Ok(result?),
    }
}

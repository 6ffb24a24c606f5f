//! `train_control_cogview4`: the command line of the reference script.

use std::process::ExitCode;

use anyhow::{Context, Result};
use cogview4_trainer::{TrainError, Trainer, args::Args, cli::run_main};

fn main() -> ExitCode {
    run_main(run)
}

fn run(args: Args) -> Result<()> {
    let (config, data) = args.resolve()?;
    let stop = config.stop.clone();
    ctrlc::set_handler(move || stop.request()).context("installing the signal handler")?;
    match Trainer::new(config, data.open()?).and_then(|trainer| trainer.run(&mut ())) {
        Err(TrainError::Stopped) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

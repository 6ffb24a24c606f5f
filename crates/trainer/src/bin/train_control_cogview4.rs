//! `train_control_cogview4`: the command line of the reference script.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use cogview4_trainer::{
    TrainError, Trainer,
    cli::args::{Args, Cli, Command},
    cli::check::check,
    cli::run_main,
};

fn main() -> ExitCode {
    run_main(|cli: Cli| match cli.command {
        None => train(cli.train),
        Some(Command::Check(args)) => {
            let report = check(*args, &mut std::io::stdout())?;
            ensure!(report.findings.is_empty(), "{} of {} rows have findings", report.bad_rows(), report.rows);
            Ok(())
        }
    })
}

fn train(args: Args) -> Result<()> {
    let (config, data) = args.resolve()?;
    let stop = config.stop.clone();
    ctrlc::set_handler(move || stop.request()).context("installing the signal handler")?;
    match Trainer::new(config, data.open()?).and_then(|trainer| trainer.run(&mut ())) {
        Err(TrainError::Stopped) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

//! What the command lines of this project have in common: an error is one line on standard error.

pub mod args;
pub mod check;
pub(crate) mod dataset;

use std::process::ExitCode;

use clap::Parser;

/// Parses the command line and runs a program with it. An error, of the command line or of the program, is printed
/// as one line `error: ...` and gives a non-zero exit status.
pub fn run_main<C: Parser>(run: impl FnOnce(C) -> anyhow::Result<()>) -> ExitCode {
    let cli = match C::try_parse() {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => help.exit(),
        Err(error) => return fail(error.to_string().split("\n\n").next().unwrap_or_default()),
    };
    run(cli).map_or_else(|error| fail(&format!("error: {error:#}")), |()| ExitCode::SUCCESS)
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{}", message.split_whitespace().collect::<Vec<_>>().join(" "));
    ExitCode::FAILURE
}

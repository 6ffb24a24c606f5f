//! `train_control_cogview4`: the command line of the reference script.

use std::process::ExitCode;

fn main() -> ExitCode {
    cogview4_model::memory::name_cut_files();
    cogview4_cli::run_main(cogview4_trainer::cli::run)
}

//! Project tasks. `cargo xtask ci` runs all that must hold for every commit.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// What `ci` runs, in this order: cheap checks first. `cargo test --workspace` is the README's test command.
const CI: &[&str] = &[
    "fmt --all --check",
    "clippy --workspace --all-targets -- -D warnings",
    "doc --workspace --no-deps",
    "test --workspace",
    "run --release --example sft_infer -- --output target/cogview4.png",
];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("ci") => ci().map_or_else(fail, |()| ExitCode::SUCCESS),
        _ => fail(anyhow::anyhow!("usage: cargo xtask ci")),
    }
}

fn fail(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn ci() -> Result<()> {
    std::fs::create_dir_all("target").context("creating `target`")?;
    CI.iter().try_for_each(|arguments| cargo(arguments))
}

fn cargo(arguments: &str) -> Result<()> {
    eprintln!("== cargo {arguments}");
    let status = Command::new("cargo")
        .args(arguments.split_whitespace())
        .env("RUSTDOCFLAGS", "-D warnings")
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "`cargo {arguments}` failed");
    Ok(())
}

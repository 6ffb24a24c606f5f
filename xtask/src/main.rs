//! Project tasks. `cargo xtask ci` runs all that must hold for every commit.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// A program outside the workspace that depends on it by path.
const CONSUMER: &str = "tests/consumer";

/// What `ci` runs, in this order: cheap checks first. `cargo test --workspace` is the README's test command; the ignored
/// tests of the trainer look at what people see, with chromium and TensorBoard.
const CI: &[&str] = &[
    "fmt --all --check",
    "clippy --workspace --all-targets -- -D warnings",
    "doc --workspace --no-deps",
    "test --workspace",
    "test -p cogview4-trainer --test suite -- --ignored",
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
    CI.iter().try_for_each(|arguments| cargo(arguments))?;
    // With the same versions, so that what is built already serves.
    let lock = format!("{CONSUMER}/Cargo.lock");
    std::fs::copy("Cargo.lock", &lock).with_context(|| format!("writing {lock}"))?;
    cargo(&format!("run --release --manifest-path {CONSUMER}/Cargo.toml"))
}

fn cargo(arguments: &str) -> Result<()> {
    eprintln!("== cargo {arguments}");
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => target.into(),
        None => std::env::current_dir().context("looking for the current folder")?.join("target"),
    };
    let status = Command::new("cargo")
        .args(arguments.split_whitespace())
        .env("RUSTDOCFLAGS", "-D warnings")
        .env("CARGO_TARGET_DIR", target)
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "`cargo {arguments}` failed");
    Ok(())
}

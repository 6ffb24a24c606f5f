//! Project tasks. `cargo xtask ci` runs all that must hold for every commit, `backends` the part of it that looks at
//! backends, `memory` that at the peaks of three trainings, `kills` that at runs that are killed; `fuzz` gives all
//! readers broken input; `libtorch` installs libtorch and prints what to export, `cuda` does so with LLVM;
//! `gpu-kit` packs what a first run on a GPU needs; `loss-compare` holds two runs against each other.

mod cuda;
mod fuzz;
mod gpu_kit;
mod kills;
mod loss_compare;
mod memory;

use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

/// A program outside the workspace that depends on it by path.
const CONSUMER: &str = "tests/consumer";
/// The PyTorch whose libtorch Burn's backend is made for.
const TORCH: &str = "torch==2.9.0";

/// What `ci` runs, in this order: cheap checks first. `cargo test --workspace` is the README's test command.
const CI: &[&str] = &[
    "fmt --all --check",
    "clippy --workspace --all-targets -- -D warnings",
    "doc --workspace --no-deps",
    "test --workspace",
    "run --release --example sft_infer -- --output target/cogview4.png",
];

/// Several processes, with the same dependencies as the tests before.
const PROCESSES: &[&str] = &[
    "clippy --workspace --all-targets --features mpi,svg -- -D warnings",
    "test --workspace --features mpi --test suite -- mpi::",
];

/// Tests that look at what others see: chromium, TensorBoard, W&B, and Python with the reference. Of the whole
/// workspace, as for a part of it Burn would be built again; those that are skipped are run by another test.
const OTHERS: &str = "test --workspace --test suite --test python -- --ignored \
                      --skip card::train_and_draw --skip card::draw_with_a_base_model";
/// The reference, in the same Python as [`TORCH`].
const REFERENCE: [&str; 2] = ["diffusers==0.42.1", "transformers==5.23.0"];

/// The backends that need no GPU, in one build: another selection of packages or features would build most of it again.
const BACKENDS: &str = "test -p cogview4 -p cogview4-trainer -p cogview4-model \
                        --features cogview4/libtorch,cogview4/wgpu --test backends";
/// The CPUs whole: the model's operations, pipeline and training, steps against PyTorch's.
const CPUS: &str = "--lib -- --skip wgpu";
/// Libtorch as on a GPU: with its own operations where it has our kernels on the CPU.
const LIBRARY: &str = "-- libtorch";
/// The operations of CubeCL on Vulkan in software.
const WGPU: &str = "-- wgpu:cpu --test-threads 1";
/// Each backend alone, without the default one: types only.
const ALONE: &[&str] = &[
    "check -p cogview4 --no-default-features --features libtorch",
    "check -p cogview4 --no-default-features --features wgpu",
    "check -p cogview4 --no-default-features --features cuda",
];

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("ci") => ci(),
        Some("backends") => backends(),
        Some("libtorch") => libtorch().map(|variables| export(&variables)),
        Some("gpu-kit") => gpu_kit::pack(std::env::args().nth(2).as_deref() == Some("--cpu")),
        Some("cuda") => target().and_then(|target| cuda::variables(&target)).map(|variables| export(&variables)),
        Some("memory") => memory::check(),
        Some("kills") => kill_runs(),
        Some("fuzz") => fuzz::Options::parse(std::env::args().skip(2)).context(USAGE).and_then(|it| fuzz::check(&it)),
        Some("loss-compare") => compare_losses(),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    result.map_or_else(fail, |()| ExitCode::SUCCESS)
}

const USAGE: &str = "usage: cargo xtask ci | backends | memory | libtorch | cuda | gpu-kit [--cpu] | loss-compare A B [--assert-equal] | \
                     kills N [--power] [--out FILE] [--seed S] [--minutes M] | \
                     fuzz [TARGET..] [--minutes M] [--jobs N]";
/// Kills that `ci` makes, and those that are losses of power.
const KILLS: [(usize, bool); 2] = [(20, false), (5, cfg!(target_os = "linux"))];

#[expect(clippy::print_stdout, reason = "the variables are for a shell")]
fn export(variables: &[(&str, String)]) {
    for (name, value) in variables {
        println!("export {name}={value}");
    }
}

fn kill_runs() -> Result<()> {
    kills::check(&kills::Options::parse(std::env::args().skip(2)).context(USAGE)?)
}

/// Kills runs, and does not count those of an earlier call.
fn kill_some() -> Result<()> {
    let out = target()?.join("kills").join("ci.jsonl");
    for (kills, power) in KILLS {
        match std::fs::remove_file(&out) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", out.display()));
            }
            _ => kills::check(&kills::Options { kills, power, out: Some(out.clone()), ..Default::default() })?,
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was found is the answer")]
fn compare_losses() -> Result<()> {
    let (flags, folders): (Vec<_>, Vec<_>) = std::env::args().skip(2).partition(|given| given.starts_with("--"));
    let [a, b] = folders.as_slice() else { anyhow::bail!("{USAGE}") };
    ensure!(flags.iter().all(|flag| flag == "--assert-equal"), "{USAGE}");
    for line in loss_compare::compare(a.as_ref(), b.as_ref(), !flags.is_empty())? {
        println!("{line}");
    }
    Ok(())
}

fn fail(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn ci() -> Result<()> {
    std::fs::create_dir_all("target").context("creating `target`")?;
    CI.iter().try_for_each(|arguments| cargo(arguments, &[]))?;
    PROCESSES.iter().try_for_each(|arguments| cargo(arguments, &[]))?;
    kill_some()?;
    memory::check()?;
    libtorch()?;
    let python = python()?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(REFERENCE))?;
    let python = [("REFERENCE_PYTHON", python.display().to_string())];
    cargo(OTHERS, &python)?;
    // With the same versions, so that what is built already serves.
    let lock = format!("{CONSUMER}/Cargo.lock");
    std::fs::copy("Cargo.lock", &lock).with_context(|| format!("writing {lock}"))?;
    cargo(&format!("run --release --manifest-path {CONSUMER}/Cargo.toml"), &[])?;
    backends()
}

/// Runs the same tests on the pure-Rust CPU and libtorch, those of operations on CubeCL, and checks the types of each
/// backend alone.
fn backends() -> Result<()> {
    let mut variables = libtorch()?;
    let test = |tests: &str, variables: &[_]| cargo(&format!("{BACKENDS} {tests}"), variables);
    test(CPUS, &variables)?;
    let library = [&variables[..], &[("LIBTORCH_OWN_KERNELS", "1".into())]].concat();
    test(LIBRARY, &library)?;
    // A software driver takes minutes to try which of a hundred kernels is fastest. It keeps its files in this folder.
    let vulkan = target()?.join("vulkan");
    std::fs::create_dir_all(&vulkan).with_context(|| format!("creating {}", vulkan.display()))?;
    variables.extend([("CUBECL_AUTOTUNE_LEVEL", "minimal".into()), ("XDG_RUNTIME_DIR", vulkan.display().to_string())]);
    test(WGPU, &variables)?;
    // Spares CUDA's compiler, which is only needed to run it.
    variables.push(("DOCS_RS", "1".into()));
    ALONE.iter().try_for_each(|arguments| cargo(arguments, &variables))
}

/// Installs libtorch from PyTorch's wheel into the target folder, unless it is there, and gives the variables that a
/// build and a run need.
fn libtorch() -> Result<Vec<(&'static str, String)>> {
    torch_variables(&target()?.join("libtorch"), TORCH)
}

/// The same of a version of PyTorch, in a Python environment of its own.
fn torch_variables(venv: &std::path::Path, torch: &str) -> Result<Vec<(&'static str, String)>> {
    let python = venv.join("bin").join("python");
    let imports = || Command::new(&python).args(["-c", "import torch"]).stderr(Stdio::null()).status();
    if !imports().is_ok_and(|status| status.success()) {
        eprintln!("== installing {torch} in {}", venv.display());
        run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", torch, "numpy", "setuptools"]))?;
    }
    let folder = Command::new(&python)
        .args(["-c", "import os, torch; print(os.path.dirname(torch.__file__))"])
        .output()
        .context("starting Python")?;
    let folder = String::from_utf8(folder.stdout).context("reading the folder of torch")?;
    let path = std::env::var("PATH").unwrap_or_default();
    Ok(vec![
        ("VIRTUAL_ENV", venv.display().to_string()),
        ("PATH", format!("{}:{path}", venv.join("bin").display())),
        ("LIBTORCH_USE_PYTORCH", "1".into()),
        ("LD_LIBRARY_PATH", format!("{}/lib", folder.trim())),
    ])
}

/// The Python that has PyTorch.
fn python() -> Result<PathBuf> {
    Ok(target()?.join("libtorch").join("bin").join("python"))
}

/// The target folder, absolute.
fn target() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => Ok(target.into()),
        None => Ok(std::env::current_dir().context("looking for the current folder")?.join("target")),
    }
}

fn cargo(arguments: &str, variables: &[(&str, String)]) -> Result<()> {
    let start = Instant::now();
    eprintln!("== cargo {arguments}");
    let mut command = Command::new("cargo");
    command.args(arguments.split_whitespace()).env("RUSTDOCFLAGS", "-D warnings").env("CARGO_TARGET_DIR", target()?);
    run(command.envs(variables.iter().map(|(name, value)| (name, value))))?;
    eprintln!("== {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "`{command:?}` failed");
    Ok(())
}

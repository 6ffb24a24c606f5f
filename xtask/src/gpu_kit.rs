//! `cargo xtask gpu-kit [--cpu]`: packs what a first run on a GPU needs, for a machine without network and Rust: the
//! programs, stripped, what the tests read, and the peer as a wheel. `scripts/gpu/kit.py` runs it there, part by part.
//!
//! The programs are built against the PyTorch that the machine has, and with CubeCL's `cuda`. With `--cpu` they are
//! built against the libtorch of the other tests and without `cuda`: to try the kit where there is no GPU.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{cuda, run, target, torch_variables};

/// The PyTorch of the machine with the GPU: programs need the same minor version there.
const GPU_TORCH: &str = "torch==2.11.0";
/// The peer, in pure Python, and what of its dependencies comes with nothing else.
const WHEELS: [&str; 2] = ["diffusers==0.42.1", "importlib_metadata"];
const SCRIPTS: [&str; 3] = ["run.sh", "kit.py", "peer.py"];
/// What tests and training read of the checkout.
const CHECKOUT: [&str; 2] = ["assets", "tests/fixtures"];
const PROGRAMS: [&str; 2] = ["bench_transformer", "train_control_cogview4"];
const LIMIT: u64 = 60 << 20;

#[expect(clippy::print_stdout, reason = "where it is, is the answer")]
pub(crate) fn pack(on_cpu: bool) -> Result<()> {
    let (target, kit) = (target()?, target()?.join("gpu-kit"));
    empty_folder(&kit)?;
    empty_folder(&kit.join("wheels"))?;
    let (variables, features) = match on_cpu {
        true => (crate::libtorch()?, "libtorch"),
        false => {
            let mut variables = torch_variables(&target.join("libtorch-gpu"), GPU_TORCH)?;
            // Our bindings are of an earlier version, which it serves too.
            variables.push(("LIBTORCH_BYPASS_VERSION_CHECK", "1".into()));
            variables.extend(cuda::variables(&target)?);
            (variables, "libtorch,cuda,kernel-cache")
        }
    };
    let programs = build(&variables, features, &target)?;
    let staged = target.join("gpu-kit-programs");
    empty_folder(&staged)?;
    for (name, program) in &programs {
        run(Command::new("strip").arg("-o").arg(staged.join(name)).arg(program))?;
    }
    // Programs share most of what they link: one window over all of them.
    let names = programs.iter().map(|(name, _)| name);
    run(Command::new("tar")
        .arg("-C")
        .arg(&staged)
        .arg("-cf")
        .arg(kit.join("programs.tar.xz"))
        .args(["--use-compress-program", "xz -T1 --lzma2=preset=6,dict=192MiB"])
        .args(names))?;
    let python = variables.iter().find(|(name, _)| *name == "VIRTUAL_ENV").map(|(_, folder)| PathBuf::from(folder));
    let python = python.context("no Python")?.join("bin").join("python");
    run(Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
        .arg(kit.join("wheels"))
        .args(WHEELS))?;
    for script in SCRIPTS {
        fs::copy(Path::new("scripts/gpu").join(script), kit.join(script)).with_context(|| script.to_owned())?;
    }
    for folder in CHECKOUT {
        let to = kit.join("checkout").join(folder);
        fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))?;
        run(Command::new("cp").arg("-r").arg(format!("{folder}/.")).arg(&to))?;
    }
    // Tests look for their files in the folder that they were built in.
    let here = std::env::current_dir().context("looking for the current folder")?;
    fs::write(kit.join("built_in.txt"), here.display().to_string()).context("writing built_in.txt")?;
    let bytes = size(&kit)?;
    ensure!(bytes <= LIMIT, "the kit has {} MiB, of at most {}", bytes >> 20, LIMIT >> 20);
    println!("{}: {} MiB; there, `bash run.sh survey`", kit.display(), bytes.div_ceil(1 << 20));
    Ok(())
}

/// Builds the programs and the tests of the backends; gives names and paths.
fn build(variables: &[(&str, String)], features: &str, target: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).env("CARGO_TARGET_DIR", target);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command
    };
    let features = features.split(',').map(|feature| format!("cogview4/{feature}")).collect::<Vec<_>>().join(",");
    let packages = ["-p", "cogview4", "-p", "cogview4-trainer", "--features", &features];
    let built = ["build", "--release", "--example", PROGRAMS[0], "--bin", PROGRAMS[1]];
    run(&mut cargo(&[&built[..], &packages].concat()))?;
    let tests = ["test", "--release", "--no-run", "--test", "backends", "--message-format", "json"];
    let output =
        cargo(&[&tests[..], &packages].concat()).stderr(Stdio::inherit()).output().context("starting cargo")?;
    ensure!(output.status.success(), "building the tests of the backends failed");
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = |line: &str| -> Option<PathBuf> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "backends").then(|| message["executable"].as_str().map(Into::into))?
    };
    let backends = text.lines().find_map(executable).context("cargo names no tests of the backends")?;
    let release = target.join("release");
    Ok(vec![
        (PROGRAMS[0], release.join("examples").join(PROGRAMS[0])),
        (PROGRAMS[1], release.join(PROGRAMS[1])),
        ("backends", backends),
    ])
}

/// Makes a folder, or empties it.
fn empty_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

/// Bytes of all files in a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry.context("reading a folder")?;
        let metadata = entry.metadata().context("reading a file's size")?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

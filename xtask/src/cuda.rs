//! `cargo xtask cuda`: what a build of `cuda` needs of the machine. CubeCL links LLVM whichever of its compilers is
//! taken, and its build would download one; the system's serves as well.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Debian's name of the program that tells where LLVM is.
const LLVM_CONFIG: &str = "llvm-config-22";
const INSTALL: &str = "apt-get install llvm-22-dev libpolly-22-dev libzstd-dev g++";
/// The crate that looks for LLVM, and by whose version the folder is named.
const BUNDLER: &str = "tracel-llvm-bundler";
/// The CUDA that the calls are of: the driver may be later.
const CUDA_VERSION: &str = "13000";

/// Sets LLVM up in the target folder, and gives the variables that a build needs.
pub(crate) fn variables(target: &Path) -> Result<Vec<(&'static str, String)>> {
    let found = Command::new(LLVM_CONFIG).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(found.is_ok_and(|status| status.success()), "there is no {LLVM_CONFIG}: {INSTALL}");
    let data = target.join("cuda");
    let folder = data.join("tracel").join(format!("tracel-llvm-{}", bundler_version()?));
    let program = folder.join("bin").join("llvm-config");
    fs::create_dir_all(folder.join("bin")).with_context(|| format!("creating {}", folder.display()))?;
    // Z3 comes as a path, of which the bundler would make a name of its own.
    let script = format!("#!/bin/sh\n{LLVM_CONFIG} \"$@\" | sed 's# /[^ ]*libz3.so##'\n");
    write_once(&program, &script)?;
    #[cfg(unix)]
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .with_context(|| format!("making {} a program", program.display()))?;
    write_once(&folder.join(".tracel-llvm-installed"), "")?;
    Ok(vec![("XDG_DATA_HOME", data.display().to_string()), ("CUDARC_CUDA_VERSION", CUDA_VERSION.into())])
}

/// Leaves a file alone that is as it should be: what is built from it is built again when it changes.
fn write_once(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// The version that `Cargo.lock` has.
fn bundler_version() -> Result<String> {
    let lock = fs::read_to_string("Cargo.lock").context("reading Cargo.lock")?;
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{BUNDLER}\"")));
    let version = entry.and_then(|entry| entry.lines().find_map(|line| line.strip_prefix("version = ")));
    Ok(version.with_context(|| format!("Cargo.lock has no {BUNDLER}"))?.trim_matches('"').to_owned())
}

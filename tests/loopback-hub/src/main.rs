//! Serves folders as a Hub on loopback: `loopback-hub FOLDER...`, with repositories in `FOLDER/models/OWNER/NAME` and
//! `FOLDER/datasets/OWNER/NAME`. A folder `refs/convert/parquet` in a data set is the branch of that name. What is
//! pushed stays in memory. `PORT` says at which port; a free one otherwise.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use loopback_hub::{Kind, LoopbackHub};

/// A branch that the Hub makes of data sets.
const PARQUET: &str = "refs/convert/parquet";

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    let folders: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let port = match env::var("PORT") {
        Ok(port) => port.parse().map_err(|_| format!("PORT: {port:?} is no port"))?,
        Err(_) => 0,
    };
    let hub = LoopbackHub::start_at(port).map_err(|error| format!("port {port}: {error}"))?;
    let mut repositories = Vec::new();
    for folder in &folders {
        for kind in [Kind::Model, Kind::Dataset] {
            let named = |error: io::Error| format!("{}: {error}", folder.display());
            add(&hub, kind, &folder.join(kind.plural()), &mut repositories).map_err(named)?;
        }
    }
    let mut out = io::stdout();
    // Whoever starts this reads the first line.
    let said = writeln!(out, "HF_ENDPOINT={}", hub.endpoint())
        .and_then(|()| repositories.iter().try_for_each(|name| writeln!(out, "{name}")))
        .and_then(|()| out.flush());
    said.map_err(|error| format!("standard output: {error}"))?;
    loop {
        std::thread::park();
    }
}

/// Adds all repositories of a kind.
fn add(hub: &LoopbackHub, kind: Kind, folder: &Path, names: &mut Vec<String>) -> io::Result<()> {
    for owner in folders(folder)? {
        for path in folders(&owner)? {
            let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
            let id = format!("{}/{}", name(&owner).unwrap_or_default(), name(&path).unwrap_or_default());
            let converted = path.join(PARQUET);
            if converted.is_dir() {
                hub.add_repo(kind, &id, PARQUET, converted.as_path());
            }
            hub.add_repo(kind, &id, "main", path.as_path());
            names.push(format!("{}/{id}", kind.plural()));
        }
    }
    Ok(())
}

/// The folders in a folder, which need not be there.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let paths: io::Result<Vec<PathBuf>> = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths: Vec<PathBuf> = paths?.into_iter().filter(|path| path.is_dir()).collect();
    paths.sort();
    Ok(paths)
}

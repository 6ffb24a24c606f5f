//! `cargo xtask fuzz [TARGET..] [--minutes M] [--jobs N]`: builds the targets of `fuzz/`, seeds them from the fixtures
//! and runs each for M minutes, N at a time. A target that crashes is started again until its time is over, so one
//! finding does not hide the next; the same place counts once.
//!
//! `target/fuzz/HOST/release/TARGET INPUT` repeats a finding; with `FUZZ_SAY=1` it prints what the readers answer.
//!
//! Needs cargo-fuzz (`cargo install cargo-fuzz`) and a C++ compiler. Everything is in `target/fuzz`: the corpora, which
//! grow from call to call, the inputs of findings in `artifacts`, what the targets said in `logs`, and a line for each
//! run in `results.jsonl`.

mod run;
mod seeds;

use std::{
    collections::VecDeque,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use self::run::{Outcome, Runner};

/// A crate outside the workspace.
const CRATE: &str = "fuzz";

/// A target, and how long its inputs may be.
#[derive(Debug, Clone, Copy)]
struct Target {
    name: &'static str,
    max_len: usize,
}

/// All targets, those that are fast first.
const TARGETS: [Target; 12] = [
    Target { name: "cards", max_len: 4096 },
    Target { name: "launch", max_len: 4096 },
    Target { name: "tables", max_len: 4096 },
    Target { name: "configs", max_len: 8192 },
    Target { name: "weights", max_len: 8192 },
    Target { name: "packs", max_len: 4096 },
    Target { name: "pictures", max_len: 16384 },
    Target { name: "tokenizer", max_len: 20000 },
    Target { name: "parquet", max_len: 100_000 },
    Target { name: "checkpoints", max_len: 40000 },
    Target { name: "report", max_len: 16384 },
    Target { name: "hub", max_len: 8192 },
];

/// What is run.
#[derive(Debug)]
pub(crate) struct Options {
    targets: Vec<Target>,
    time: Duration,
    jobs: usize,
}

impl Options {
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Self> {
        let (mut targets, mut minutes, mut jobs) = (Vec::new(), 8.0, 2);
        while let Some(word) = given.next() {
            let mut value = || given.next().with_context(|| format!("{word} has no value"));
            match word.as_str() {
                "--minutes" => minutes = value()?.parse().ok().filter(|it| *it > 0.0).context("how many minutes?")?,
                "--jobs" => jobs = value()?.parse().ok().filter(|it| *it > 0).context("how many at a time?")?,
                name => match TARGETS.iter().find(|target| target.name == name) {
                    Some(target) => targets.push(*target),
                    None => bail!("there is no target {name}: {}", TARGETS.map(|target| target.name).join(", ")),
                },
            }
        }
        let targets = if targets.is_empty() { TARGETS.to_vec() } else { targets };
        let time = Duration::try_from_secs_f64(60.0 * minutes).context("so many minutes")?;
        Ok(Self { targets, time, jobs })
    }
}

/// Builds, seeds and runs targets, and prints what came of it.
///
/// # Errors
/// Findings, and whatever keeps targets from running.
#[expect(clippy::print_stdout, reason = "what was found is the answer")]
pub(crate) fn check(options: &Options) -> Result<()> {
    let home = super::target()?.join("fuzz");
    build(&home)?;
    for target in &options.targets {
        let corpus = home.join("corpus").join(target.name);
        seeds::plant(Path::new(CRATE), target.name, target.max_len, &corpus)?;
    }
    let runner = Runner::new(&home, &binaries(&home)?)?;
    let queue = Mutex::new(options.targets.iter().copied().collect::<VecDeque<_>>());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (results, outcomes) = (home.join("results.jsonl"), Mutex::new(Vec::new()));
    let worker = || -> Result<()> {
        while let Some(target) = next() {
            let outcome = runner.run(target.name, target.max_len, options.time)?;
            eprintln!("{}", outcome.line());
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            note(&results, &outcome)?;
            outcomes.push(outcome);
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{}", Outcome::HEAD);
    for outcome in &outcomes {
        println!("{}", outcome.line());
    }
    let findings: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.findings).collect();
    for finding in &findings {
        println!("{}\n  {} ({} bytes)", finding.place, finding.input.display(), finding.bytes);
    }
    ensure!(findings.is_empty(), "{} findings, see {}", findings.len(), home.join("logs").display());
    Ok(())
}

/// Appends a line of results.
fn note(path: &Path, outcome: &Outcome) -> Result<()> {
    let open = fs::OpenOptions::new().create(true).append(true).open(path);
    let written = open.and_then(|mut file| writeln!(file, "{}", outcome.json()));
    written.with_context(|| format!("writing {}", path.display()))
}

/// Builds all targets with the versions of the workspace. The flags of a sanitizer are those of a nightly compiler: the
/// variable has the stable one take them.
fn build(home: &Path) -> Result<()> {
    let lock = Path::new(CRATE).join("Cargo.lock");
    fs::copy("Cargo.lock", &lock).with_context(|| format!("writing {}", lock.display()))?;
    eprintln!("== cargo fuzz build");
    let mut command = Command::new("cargo");
    command.args(["fuzz", "build", "--fuzz-dir", CRATE, "--target-dir"]).arg(home).env("RUSTC_BOOTSTRAP", "1");
    super::run(&mut command).context("is cargo-fuzz there? `cargo install cargo-fuzz` installs it")
}

/// Where cargo-fuzz puts what it builds.
fn binaries(home: &Path) -> Result<PathBuf> {
    let version = Command::new("rustc").arg("-vV").output().context("starting rustc")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(home.join(host).join("release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_or_refused() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(String::from));
        let names = |options: Options| options.targets.iter().map(|target| target.name).collect::<Vec<_>>();
        let all = parse("").unwrap();
        assert_eq!((all.time, all.jobs, names(all).len()), (Duration::from_secs(480), 2, TARGETS.len()));
        let some = parse("hub --minutes 0.5 cards --jobs 1").unwrap();
        assert_eq!((some.time, some.jobs, names(some)), (Duration::from_secs(30), 1, vec!["hub", "cards"]));
        for wrong in ["hubs", "--minutes", "--minutes 0", "--minutes x", "--jobs 0", "--force"] {
            parse(wrong).unwrap_err();
        }
    }

    #[test]
    fn every_target_is_there_and_has_seeds() {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(CRATE);
        let manifest = fs::read_to_string(crate_folder.join("Cargo.toml")).unwrap();
        for Target { name, max_len } in TARGETS {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
            let corpus = tempfile::tempdir().unwrap();
            let planted = seeds::plant(&crate_folder, name, max_len, corpus.path()).unwrap();
            assert!(planted > 1, "{name} has {planted} seeds");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    }
}

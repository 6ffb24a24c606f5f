//! One target after another: libfuzzer's flags, and what it says.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::CRATE;

/// A target is started again at most so often.
const STARTS: usize = 12;
/// What all targets are given.
const FLAGS: [&str; 5] =
    ["-print_final_stats=1", "-rss_limit_mb=3000", "-timeout=25", "-detect_leaks=0", "-report_slow_units=10"];
/// Leaks are what statics hold; an allocation that fails is an error first.
const SANITIZER: &str = "detect_odr_violation=0:detect_leaks=0:allocator_may_return_null=1";

/// Runs targets that are built.
#[derive(Debug)]
pub(super) struct Runner {
    home: PathBuf,
    binaries: PathBuf,
    /// Where targets write their files; gone with the runner.
    scratch: PathBuf,
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// An input that a target does not survive.
#[derive(Debug)]
pub(super) struct Finding {
    pub place: String,
    pub input: PathBuf,
    pub bytes: u64,
}

/// What came of a target.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    target: String,
    seconds: f64,
    executions: u64,
    coverage: u64,
    features: u64,
    corpus: usize,
    pub findings: Vec<Finding>,
}

impl Outcome {
    pub(super) const HEAD: &str = "target        seconds  executions  a second  coverage  features  corpus  findings";

    pub(super) fn line(&self) -> String {
        let Self { target, seconds, executions, coverage, features, corpus, findings } = self;
        let (rate, found) = (*executions as f64 / seconds.max(1.0), findings.len());
        let ran = format!("{target:<12} {seconds:>8.0} {executions:>11} {rate:>9.0}");
        format!("{ran} {coverage:>9} {features:>9} {corpus:>7} {found:>9}")
    }

    pub(super) fn json(&self) -> Value {
        let finding = |Finding { place, input, bytes }: &Finding| {
            let input = input.display().to_string();
            json!({ "place": place, "input": input, "bytes": bytes })
        };
        json!({
            "target": self.target,
            "seconds": self.seconds,
            "executions": self.executions,
            "coverage": self.coverage,
            "features": self.features,
            "corpus": self.corpus,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}

impl Runner {
    pub(super) fn new(home: &Path, binaries: &Path) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory } else { home };
        let scratch = above.join(format!("cogview4-fuzz-{}", std::process::id()));
        for folder in [&scratch, &home.join("logs")] {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        Ok(Self { home: home.into(), binaries: binaries.into(), scratch })
    }

    /// Runs a target until its time is over.
    pub(super) fn run(&self, target: &str, max_len: usize, time: Duration) -> Result<Outcome> {
        let mut outcome = Outcome { target: target.into(), ..Outcome::default() };
        let (begun, mut places) = (Instant::now(), BTreeSet::new());
        for start in 0..STARTS {
            let left = time.saturating_sub(begun.elapsed()).as_secs();
            if start > 0 && left == 0 {
                break;
            }
            let log = self.home.join("logs").join(format!("{target}-{start}.log"));
            let is_whole = self.start(target, max_len, left.max(1), &log)?;
            let said = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
            let said = String::from_utf8_lossy(&said);
            outcome.take(&said);
            if is_whole {
                break;
            }
            let place = place(&said);
            let input = said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path);
            ensure!(input.is_some(), "{target} cannot run: {place}, see {}", log.display());
            let input = PathBuf::from(input.unwrap_or_default());
            let bytes = fs::metadata(&input).map_or(0, |found| found.len());
            if places.insert(place.clone()) {
                outcome.findings.push(Finding { place, input, bytes });
            } else if let Some(known) = outcome.findings.iter_mut().find(|known| known.place == place)
                && bytes < known.bytes
            {
                (known.input, known.bytes) = (input, bytes);
            }
        }
        outcome.seconds = begun.elapsed().as_secs_f64();
        outcome.corpus = fs::read_dir(self.corpus(target)).map_or(0, Iterator::count);
        Ok(outcome)
    }

    fn corpus(&self, target: &str) -> PathBuf {
        self.home.join("corpus").join(target)
    }

    /// Starts a target once; whether it lived until the end.
    fn start(&self, target: &str, max_len: usize, seconds: u64, log: &Path) -> Result<bool> {
        let artifacts = self.home.join("artifacts").join(target);
        fs::create_dir_all(&artifacts).with_context(|| format!("creating {}", artifacts.display()))?;
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(self.binaries.join(target));
        command.args(FLAGS).arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={max_len}"));
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        let words = Path::new(CRATE).join("dicts").join(format!("{target}.dict"));
        if words.is_file() {
            command.arg(format!("-dict={}", words.display()));
        }
        command.arg(self.corpus(target)).env("ASAN_OPTIONS", SANITIZER).env("FUZZ_SCRATCH", &self.scratch);
        // What a target prints of its own is of no use.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let status = command.status().with_context(|| format!("starting {command:?}"))?;
        Ok(status.success())
    }
}

impl Outcome {
    /// Adds what libfuzzer says of one start.
    fn take(&mut self, said: &str) {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let stated = said.lines().rev().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let status = |line: &&str| line.starts_with('#') && line.contains(" cov: ");
        let last = said.lines().rev().find(status).unwrap_or_default();
        let counted = last.trim_start_matches('#').split_whitespace().next();
        self.executions += stated.and_then(number).or(counted.and_then(number)).unwrap_or(0);
        let after = |name: &str| {
            let mut words = last.split_whitespace().skip_while(|word| *word != name);
            words.nth(1).and_then(number).unwrap_or(0)
        };
        self.coverage = self.coverage.max(after("cov:"));
        self.features = self.features.max(after("ft:"));
    }
}

/// Where a target ended: the line of a panic, else what the sanitizer or libfuzzer says.
fn place(said: &str) -> String {
    let panic = said.lines().find(|line| line.contains("panicked at "));
    let summary = || said.lines().find(|line| line.starts_with("SUMMARY: "));
    let place = panic.or_else(summary).or_else(|| said.lines().last()).unwrap_or_default();
    place.trim_end_matches(':').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "#2\tINITED cov: 10 ft: 20 corp: 1/4b exec/s: 0 rss: 60Mb\n\
        #900\tNEW    cov: 41 ft: 75 corp: 9/100b lim: 8 exec/s: 450 rss: 61Mb L: 3/8 MS: 1 ShuffleBytes-\n\
        panicked at crates/data/src/yaml.rs:7:9:\nno such value\nstat::number_of_executed_units: 950\n";

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let mut outcome = Outcome::default();
        outcome.take(SAID);
        outcome.take("#50\tpulse  cov: 12 ft: 13 corp: 1/1b\nkilled");
        assert_eq!((outcome.executions, outcome.coverage, outcome.features), (1000, 41, 75));
        assert_eq!(place(SAID), "panicked at crates/data/src/yaml.rs:7:9");
        assert_eq!(place("x\nSUMMARY: libFuzzer: timeout\n"), "SUMMARY: libFuzzer: timeout");
    }
}

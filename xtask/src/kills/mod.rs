//! `cargo xtask kills N [--power] [--out FILE] [--seed S] [--minutes M]`: that a training run survives being killed at
//! any moment. A small run is killed with SIGKILL and resumed, again and again. Half of the kills come at any time, the
//! other half while something is going on that was chosen before. No kill may cost the newest checkpoint that was
//! complete, every run must go on from what the kill has left, and when one comes to its end, its weights, checkpoint,
//! pictures and lines must be those of a run that nobody killed, bit for bit.
//!
//! With `--power` each kill is a loss of power as well. A preloaded library (`tests/power-loss`) notes what the trainer
//! has synced. After the kill the folder is built again as a machine might find it: what was synced is there; of
//! everything newer, chance decides what is there and what is not ([`power`]).
//!
//! What this proves: that the trainer relies on nothing but what it has synced, at the moments that were tried. What it
//! does not prove: that a disk or a file system keeps its word after a sync. It knows no sectors that are torn or went
//! bad, no blocks that hold zeros or what another file had, and of the order in which a file system writes its changes
//! only this: a name that is renamed within a folder is there once, old or new. Real file systems keep more of the
//! order and sync more than they are asked to, so they are kinder than this. Only this small run is looked at: of one
//! process, with its state in memory, so that nothing is written through a map of a file.
//!
//! The draws of each attempt follow from the seed and its number, the results are lines of JSON: a second call with the
//! same file goes on where the first ended.

mod disk;
mod draws;
mod journal;
mod moment;
mod options;
mod power;
mod trainer;
mod truth;
mod view;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

pub(crate) use self::options::Options;
use self::{
    disk::Disk,
    draws::Draws,
    journal::Journal,
    moment::{Cadence, Moment},
    trainer::{Outcome, Trainer, Trigger},
    truth::Truth,
};

/// The run in its folder: what it is, and the folders it writes to.
const CADENCE: Cadence = Cadence { steps: 12, checkpoints: 3, validations: 4, kept: 2 };
const OUTPUT: &str = "out";
const PACK: &str = "pack";
/// Folders that show what was wrong, at most so many of a call.
const EVIDENCE: usize = 10;
/// At most so long after the sign of a moment the run is killed.
const WAIT: Duration = Duration::from_millis(20);

/// Kills runs until there are so many kills in the file of results; prints what was found.
#[expect(clippy::print_stdout, reason = "what was found is the answer")]
pub(crate) fn check(options: &Options) -> Result<()> {
    super::cargo("build --workspace", &[])?;
    let target = super::target()?;
    let folder = target.join("kills");
    let out = options.out.clone().unwrap_or_else(|| folder.join("kills.jsonl"));
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let journal = Journal::open(&out, options.power)?;
    let trainer = Trainer::new(&target.join("debug"), &folder, options.power)?;
    let mut kills = Kills::new(options, folder, trainer, journal)?;
    kills.all()?;
    for line in kills.journal.table() {
        println!("{line}");
    }
    ensure!(kills.journal.failures() == 0, "{} failures, see {}", kills.journal.failures(), out.display());
    Ok(())
}

struct Kills<'a> {
    options: &'a Options,
    folder: PathBuf,
    /// Where the runs that are killed write.
    run: PathBuf,
    trainer: Trainer,
    truth: Truth,
    journal: Journal,
    /// In which moment the present run was killed last.
    last: Option<Moment>,
    evidence: usize,
}

impl<'a> Kills<'a> {
    /// Makes the run that nobody kills, and an empty folder for the others.
    fn new(options: &'a Options, folder: PathBuf, trainer: Trainer, journal: Journal) -> Result<Self> {
        let whole = folder.join("truth");
        empty(&whole)?;
        let start = Instant::now();
        let outcome = trainer.run(&whole, &CADENCE, None, None)?;
        ensure!(matches!(outcome, Outcome::Finished), "a run that nobody kills ends as {outcome:?}");
        let truth = Truth::read(&whole, start.elapsed())?;
        let run = folder.join("run");
        empty(&run)?;
        for number in 0..EVIDENCE {
            remove(&evidence(&folder, number))?;
        }
        Ok(Self { options, folder, run, trainer, truth, journal, last: None, evidence: 0 })
    }

    fn all(&mut self) -> Result<()> {
        let start = Instant::now();
        let in_time = |minutes: f64| start.elapsed().as_secs_f64() < 60.0 * minutes;
        while self.journal.kills() < self.options.kills && self.options.minutes.is_none_or(in_time) {
            self.attempt()?;
        }
        Ok(())
    }

    /// Starts the run, and kills it unless it ends before.
    fn attempt(&mut self) -> Result<()> {
        let mut draws = Draws::new(self.options.seed, self.journal.attempts());
        let trigger = self.trigger(&mut draws)?;
        let before = Disk::of(&self.run)?;
        let known = self.truth.newest_whole(&self.run.join(OUTPUT))?;
        match self.trainer.run(&self.run, &CADENCE, Some((&trigger, self.truth.pack_bytes)), Some(CADENCE.kept))? {
            Outcome::Finished => self.finished(draws.coin(0.5)),
            Outcome::Refused(reason) => self.refused(&reason),
            Outcome::Killed { after, moment, newest } => {
                let (promised, now) = match self.options.power {
                    true => self.lose_power(&before, &mut draws)?,
                    false => (known.max(newest), self.truth.newest_whole(&self.run.join(OUTPUT))?),
                };
                self.killed((&trigger, after, moment), (promised, now))
            }
        }
    }

    /// When to kill.
    fn trigger(&self, draws: &mut Draws) -> Result<Trigger> {
        if draws.coin(0.5) {
            return Ok(Trigger::After(self.truth.took.mul_f64(1.1 * draws.part())));
        }
        // Nothing is packed where all is there.
        let is_packed = disk::length(&self.run.join(PACK).join("pack.bin")) >= self.truth.pack_bytes;
        let mut moments = Moment::ALL.to_vec();
        moments.retain(|moment| *moment != Moment::Packing || !is_packed);
        let moment = moments[draws.below(moments.len())];
        // Much of what is aimed at is over within a few milliseconds.
        let wait = WAIT.mul_f64(draws.part().powi(2));
        Ok(Trigger::In { moment, time: 1 + draws.below(moment.times(&CADENCE)), wait })
    }

    /// Takes away what was not durable. Gives the newest checkpoint that was, and the newest that is there and whole.
    fn lose_power(&self, before: &Disk, draws: &mut Draws) -> Result<(Option<usize>, Option<usize>)> {
        let now = Disk::of(&self.run)?;
        let durable = before.clone().overlaid(&self.trainer.record)?;
        let promised = self.truth.durable(before, &durable, &now);
        let rebuilt = self.folder.join("rebuilt");
        remove(&rebuilt)?;
        power::rebuild(&durable, &now, draws).write(&rebuilt)?;
        remove(&self.run)?;
        fs::rename(&rebuilt, &self.run).context("putting what is left of the run in its place")?;
        Ok((promised, self.truth.newest_whole(&self.run.join(OUTPUT))?))
    }

    fn killed(
        &mut self,
        (trigger, after, moment): (&Trigger, Duration, Moment),
        (promised, now): (Option<usize>, Option<usize>),
    ) -> Result<()> {
        let lost = match promised.filter(|_| promised > now) {
            None => None,
            Some(step) => {
                let reason = self.truth.why_not_whole(&self.run.join(OUTPUT), step)?;
                self.keep_evidence()?;
                Some(format!("checkpoint-{step}: {}", reason.unwrap_or_default()))
            }
        };
        self.last = Some(moment);
        self.journal.add(json!({
            "seed": self.options.seed,
            "number": self.journal.kills() + 1,
            "power": self.options.power,
            "moment": moment.name(),
            "aimed": trigger.aimed().map(Moment::name),
            "ms": after.as_millis() as u64,
            "newest_checkpoint": now,
            "lost": lost,
        }))
    }

    /// A run came to its end: it must be as if nobody had killed it.
    fn finished(&mut self, keeps_pack: bool) -> Result<()> {
        let differences = self.truth.differences(&self.run)?;
        if !differences.is_empty() {
            self.keep_evidence()?;
        }
        let line = json!({
            "finished": self.journal.finished() + 1,
            "power": self.options.power,
            "after": self.last.take().map(Moment::name),
            "differences": differences.len(),
            "what": differences,
        });
        self.journal.add(line)?;
        match keeps_pack {
            true => remove(&self.run.join(OUTPUT)),
            false => empty(&self.run),
        }
    }

    /// A run did not go on from what the last kill has left.
    fn refused(&mut self, reason: &str) -> Result<()> {
        self.keep_evidence()?;
        let after = self.last.take().map(Moment::name);
        self.journal.add(json!({ "refused": reason, "power": self.options.power, "after": after }))?;
        empty(&self.run)
    }

    /// Keeps the folder as it is now.
    fn keep_evidence(&mut self) -> Result<()> {
        if self.evidence == EVIDENCE {
            return Ok(());
        }
        let place = evidence(&self.folder, self.evidence);
        self.evidence += 1;
        eprintln!("attempt {}: what was found is in {}", self.journal.attempts(), place.display());
        Disk::of(&self.run)?.write(&place)
    }
}

fn evidence(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("evidence-{number}"))
}

/// Makes a folder that has nothing in it.
fn empty(folder: &Path) -> Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

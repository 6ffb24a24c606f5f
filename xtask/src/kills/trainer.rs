//! Starting the trainer on a small run, and killing it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    OUTPUT, PACK, empty,
    moment::{Cadence, Moment},
    view::View,
};

/// The rest of the run: five rows, in pictures as small as they can be.
const FLAGS: &str = "--max_train_samples 5 --resolution 32 --train_batch_size 2 --seed 7 --learning_rate 1e-3 \
                     --resume_from_checkpoint latest --dataloader_num_workers 1 --validation_prompt square";
/// A run of a second that takes as long as this hangs.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// When to kill.
#[derive(Debug)]
pub(super) enum Trigger {
    /// So long after the start.
    After(Duration),
    /// When the run is in this moment for the so-manieth time, and a little later.
    In { moment: Moment, time: usize, wait: Duration },
}

impl Trigger {
    /// The moment that is aimed at.
    pub(super) fn aimed(&self) -> Option<Moment> {
        match self {
            Self::After(_) => None,
            Self::In { moment, .. } => Some(*moment),
        }
    }
}

/// How a run has ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Killed, after so long, in this moment; the newest complete checkpoint that was seen at any time.
    Killed { after: Duration, moment: Moment, newest: Option<usize> },
    /// By itself, and well.
    Finished,
    /// By itself with an error, or not at all.
    Refused(String),
}

/// The program and what it is given.
pub(super) struct Trainer {
    program: PathBuf,
    /// What is preloaded, where power is lost.
    library: Option<PathBuf>,
    /// Where that notes what was made durable.
    pub record: PathBuf,
    /// Where the run's messages go.
    messages: PathBuf,
    pipeline: PathBuf,
    control: PathBuf,
    data: PathBuf,
}

impl Trainer {
    pub(super) fn new(programs: &Path, folder: &Path, power: bool) -> Result<Self> {
        ensure!(!power || cfg!(target_os = "linux"), "losses of power are simulated on Linux only");
        let absolute = |path: &str| std::path::absolute(path).with_context(|| format!("looking for {path}"));
        // Copies: what is built meanwhile does not change what is tried.
        let own = |name: String| {
            let copy = std::path::absolute(folder.join(&name)).context("looking for the folder")?;
            fs::copy(programs.join(&name), &copy).with_context(|| format!("copying {name}"))?;
            Ok::<PathBuf, anyhow::Error>(copy)
        };
        Ok(Self {
            program: own(format!("train_control_cogview4{}", std::env::consts::EXE_SUFFIX))?,
            library: if power { Some(own("libpower_loss.so".into())?) } else { None },
            record: std::path::absolute(folder.join("record")).context("looking for the folder")?,
            messages: folder.join("messages.txt"),
            pipeline: absolute("tests/fixtures/plain")?,
            control: absolute("tests/fixtures/canny/blobs-50-200.png")?,
            data: absolute("assets/figures.parquet")?,
        })
    }

    /// Starts the run in a folder, or has it go on there. With a trigger it is killed, unless it ends before; a whole
    /// pack has as many bytes as are given with it. `kept` is how many checkpoints stay.
    pub(super) fn run(
        &self,
        folder: &Path,
        cadence: &Cadence,
        trigger: Option<(&Trigger, u64)>,
        kept: Option<usize>,
    ) -> Result<Outcome> {
        let before = View::of(folder);
        let (start, mut child) = (Instant::now(), self.start(folder, cadence, kept)?);
        let (mut newest, mut seen, mut times) = (before.newest(), None, 0);
        let mut due = match trigger {
            Some((Trigger::After(due), _)) => Some(*due),
            _ => None,
        };
        loop {
            if let Some(status) = child.try_wait().context("waiting for the trainer")? {
                return self.ended(status);
            }
            let view = View::of(folder);
            newest = newest.max(view.newest());
            if let Some((Trigger::In { moment, time, wait }, pack_bytes)) = trigger
                && due.is_none()
            {
                let now = (Moment::of(&before, &view, cadence, pack_bytes), view.steps);
                times += usize::from(seen != Some(now) && now.0 == *moment);
                seen = Some(now);
                due = (times == *time).then(|| start.elapsed() + *wait);
            }
            if due.is_some_and(|due| start.elapsed() >= due) {
                let after = start.elapsed();
                let status = kill(&mut child)?;
                if status.code().is_some() {
                    return self.ended(status);
                }
                let moment = Moment::of(&before, &View::of(folder), cadence, trigger.map_or(0, |(_, bytes)| bytes));
                return Ok(Outcome::Killed { after, moment, newest });
            }
            if start.elapsed() > LIMIT {
                kill(&mut child)?;
                return Ok(Outcome::Refused(format!("has not ended within {} seconds", LIMIT.as_secs())));
            }
            std::thread::sleep(due.map_or(PAUSE, |due| due.saturating_sub(start.elapsed()).min(PAUSE)));
        }
    }

    fn start(&self, folder: &Path, cadence: &Cadence, kept: Option<usize>) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.current_dir(folder).args(FLAGS.split_whitespace()).args(["--output_dir", OUTPUT, "--pack_dir", PACK]);
        for (flag, path) in [
            ("--pretrained_model_name_or_path", &self.pipeline),
            ("--validation_image", &self.control),
            ("--dataset_name", &self.data),
        ] {
            command.arg(flag).arg(path);
        }
        for (flag, number) in [
            ("--max_train_steps", Some(cadence.steps)),
            ("--checkpointing_steps", Some(cadence.checkpoints)),
            ("--validation_steps", Some(cadence.validations)),
            ("--checkpoints_total_limit", kept),
        ] {
            command.args(number.into_iter().flat_map(|number| [flag.to_string(), number.to_string()]));
        }
        if let Some(library) = &self.library {
            empty(&self.record)?;
            command.env("LD_PRELOAD", library).env("POWER_LOSS_LOG", &self.record);
        }
        let messages = File::create(&self.messages).context("making a file for the trainer's messages")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages);
        command.spawn().with_context(|| format!("starting {}", self.program.display()))
    }

    fn ended(&self, status: ExitStatus) -> Result<Outcome> {
        let messages = fs::read(&self.messages).context("reading the trainer's messages")?;
        let messages = String::from_utf8_lossy(&messages);
        ensure!(!messages.contains("power-loss: "), "the record of what is durable has gaps: {messages}");
        Ok(match status.success() {
            true => Outcome::Finished,
            false => Outcome::Refused(format!("{status}: {}", messages.trim())),
        })
    }
}

/// Kills at once, as a lack of memory or of power does.
fn kill(child: &mut Child) -> Result<ExitStatus> {
    child.kill().context("killing the trainer")?;
    child.wait().context("waiting for the trainer")
}

//! Open MPI's and MPICH's mpirun: how each is called, how it is told to stop, and what is done when a run fails.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use cogview4_data::FolderLock;
use rustix::process::{Pid, Signal, kill_process};

use super::{Launch, arguments};
use crate::{distributed::mpi_library, run::LOCK};

/// The settings of Open MPI by which a cut link is noticed within seconds, where its defaults take minutes.
const KEEPALIVE: [(&str, &str); 3] =
    [("oob_tcp_keepalive_time", "5"), ("oob_tcp_keepalive_intvl", "2"), ("oob_tcp_keepalive_probes", "3")];

/// What the names of variables begin with that a run looks at.
const CARRIED: [&str; 6] = ["HF_", "HUGGING_FACE_", "WANDB_", "RAYON_", "LD_LIBRARY_PATH", "RUST_"];

/// How long the last processes of a run may take to be gone after its mpirun.
const LAST_ONES: Duration = Duration::from_secs(60);

/// Which MPI a program belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OpenMpi,
    Mpich,
}

impl Kind {
    /// Of the MPI that this program is built with.
    fn of_library() -> Result<Self> {
        let library = mpi_library();
        match library.as_str() {
            name if name.starts_with("Open MPI") => Ok(Self::OpenMpi),
            name if name.starts_with("MPICH") || name.starts_with("Intel") => Ok(Self::Mpich),
            _ => bail!("this program is built with {library}, whose mpirun is not known: start it with that"),
        }
    }

    /// What `--version` says of it.
    fn mark(self) -> &'static str {
        match self {
            Self::OpenMpi => "Open MPI",
            Self::Mpich => "HYDRA",
        }
    }

    /// What it may be called.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::OpenMpi => ["mpirun", "mpirun.openmpi", "orterun"],
            Self::Mpich => ["mpirun", "mpirun.mpich", "mpiexec.hydra"],
        }
    }

    /// Finds its mpirun.
    fn find(self) -> Result<PathBuf> {
        let is_it = |name: &&str| {
            let output = Command::new(name).arg("--version").stderr(Stdio::null()).output();
            output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(self.mark()))
        };
        let found = self.names().into_iter().find(is_it).map(PathBuf::from);
        found.with_context(|| format!("no mpirun of {} is found, which this program is built with", mpi_library()))
    }

    /// What asks a run to finish its step and write: Open MPI's kills it a second after anything else.
    fn stop_signal(self) -> Signal {
        match self {
            Self::OpenMpi => Signal::USR1,
            Self::Mpich => Signal::TERM,
        }
    }

    /// The arguments in front of the program.
    fn arguments(self, launch: &Launch, processes: usize) -> Vec<OsString> {
        let mut all: Vec<String> = vec!["-np".into(), processes.to_string()];
        let hosts = launch.hosts.iter().map(|(host, slots)| format!("{host}:{slots}")).collect::<Vec<_>>().join(",");
        match self {
            Self::OpenMpi => {
                for (name, value) in KEEPALIVE {
                    all.extend(["--mca".into(), name.into(), value.into()]);
                }
                // Each process shares its machine's cores with the others by its number of threads.
                all.extend(["--bind-to".into(), "none".into()]);
                if launch.oversubscribe {
                    all.push("--oversubscribe".into());
                }
                if is_root() {
                    all.push("--allow-run-as-root".into());
                }
                if !hosts.is_empty() {
                    all.extend(["--host".into(), hosts]);
                    let secrets = launch.secrets().map(|(name, _)| name.to_owned());
                    let names: BTreeSet<String> = carried().chain(secrets).collect();
                    all.extend(names.into_iter().flat_map(|name| ["-x".into(), name]));
                }
            }
            // It carries all variables by itself.
            Self::Mpich => {
                if !hosts.is_empty() {
                    all.extend(["-hosts".into(), hosts]);
                }
            }
        }
        all.extend(launch.mpirun_args.iter().cloned());
        all.into_iter().map(OsString::from).collect()
    }
}

/// Starts a run, and starts it again where it fails and may.
pub(super) fn run(launch: &Launch, command: Vec<OsString>) -> Result<()> {
    let kind = Kind::of_library()?;
    let mpirun = match &launch.mpirun {
        Some(path) => path.clone(),
        None => kind.find()?,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let each = launch.hosts.first().map_or(launch.processes, |(_, slots)| *slots);
    ensure!(
        each <= cores || launch.oversubscribe,
        "--num_processes: {each} on {cores} cores of this machine: start fewer, or give --oversubscribe"
    );
    let started = Started::default();
    started.stop_when_asked(kind)?;
    let mut command = arguments::with(&command, "--num_processes", &launch.processes.to_string());
    let mut processes = launch.processes;
    for restart in 0.. {
        let status = started.run(launch, &mpirun, &kind.arguments(launch, processes), &command)?;
        if status.success() {
            return Ok(());
        }
        let is_last = restart == launch.max_restarts || started.is_asked();
        ensure!(!is_last, "the run ended with {status}, after {restart} restarts");
        wait_for_the_last(&launch.output_dir)?;
        let (again, micro_batches) = launch.restart;
        processes = again;
        for (flag, value) in [
            ("--num_processes", again.to_string()),
            ("--gradient_accumulation_steps", micro_batches.to_string()),
            ("--resume_from_checkpoint", "latest".into()),
        ] {
            command = arguments::with(&command, flag, &value);
        }
        let (number, most) = (restart + 1, launch.max_restarts);
        cogview4_cli::note(&format!(
            "note: the run ended with {status}; restart {number} of {most}, from the newest checkpoint, as {again} processes"
        ));
    }
    unreachable!("invariant: the last restart returns")
}

/// The mpirun that runs, and whether somebody has asked it to stop.
#[derive(Debug, Default, Clone)]
struct Started {
    process: Arc<Mutex<Option<Pid>>>,
    is_asked: Arc<AtomicBool>,
}

impl Started {
    fn process(&self) -> std::sync::MutexGuard<'_, Option<Pid>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Hands a wish to stop on to the run; one who asks again does not want to wait for the end of the step.
    fn stop_when_asked(&self, kind: Kind) -> Result<()> {
        let started = self.clone();
        let on_signal = move || {
            let signal = if started.is_asked.swap(true, Ordering::Relaxed) { Signal::INT } else { kind.stop_signal() };
            if let Some(process) = *started.process() {
                // One that has just ended needs no signal.
                let _ = kill_process(process, signal);
            }
        };
        ctrlc::set_handler(on_signal).context("installing the signal handler")
    }

    /// Runs this program as so many processes.
    fn run(&self, launch: &Launch, mpirun: &Path, arguments: &[OsString], command: &[OsString]) -> Result<ExitStatus> {
        let program = std::env::current_exe().context("looking for this program")?;
        // A group of its own: a terminal's interrupt comes here, and from here as a wish to stop.
        let mut run = Command::new(mpirun);
        run.args(arguments).arg(program).args(command).envs(launch.secrets()).stdin(Stdio::null()).process_group(0);
        let mut child = run.spawn().with_context(|| format!("starting {}", mpirun.display()))?;
        *self.process() = Some(Pid::from_child(&child));
        let status = child.wait().context("waiting for mpirun");
        *self.process() = None;
        status
    }
}

/// Waits until nobody uses the output folder any more: mpirun may end before the last of its processes.
fn wait_for_the_last(output_dir: &Path) -> Result<()> {
    let start = Instant::now();
    while output_dir.is_dir() && FolderLock::acquire(output_dir, LOCK)?.is_none() {
        ensure!(start.elapsed() < LAST_ONES, "{}: a process of the run that failed is left", output_dir.display());
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The variables that processes on other machines need too.
fn carried() -> impl Iterator<Item = String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| CARRIED.iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether this is the administrator, to whom Open MPI does not start anything unless it is told to.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

//! Processes that mpirun starts: they follow the path of one, and whatever happens to one of them ends all.
//!
//! `MPIRUN` names the mpirun of the MPI that the tests are built with.

mod ends;
mod launching;
mod path;

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Pid;

use crate::support::Workplace;

/// A run that does not end by itself.
const ENDLESS: &[&str] = &["--max_train_steps", "100000", "--validation_steps", "100000", "--report_to", "none"];
/// All processes are gone within this time, whatever happened.
const MINUTE: Duration = Duration::from_secs(60);

/// Processes of a program, however many cores there are.
fn mpirun(workplace: &Workplace, processes: usize, program: &Command) -> Command {
    let name = std::env::var("MPIRUN").unwrap_or("mpirun".into());
    let mut command = Command::new(name);
    command.args(["-np", &processes.to_string()]).arg(program.get_program()).args(program.get_args());
    command.current_dir(workplace.path("")).stdin(Stdio::null());
    // Open MPI's settings; others do not look at them.
    for name in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"] {
        command.env(name, "1");
    }
    command
}

fn train(workplace: &Workplace, processes: usize, flags: &[&str]) -> Command {
    mpirun(workplace, processes, &workplace.command(flags))
}

#[track_caller]
fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    error
}

/// Runs to its end, which is no success and comes in time; what was printed.
#[track_caller]
fn fails(mut command: Command) -> String {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{error}");
    assert!(start.elapsed() < MINUTE, "{:?}: {error}", start.elapsed());
    error
}

/// The processes of a run that writes to this folder of a workplace, by rank.
fn ranks(workplace: &Workplace) -> Vec<Pid> {
    let mut found: Vec<(usize, Pid)> = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut rank = environment.split(|byte| *byte == 0).filter_map(|line| {
            let (name, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
            ["OMPI_COMM_WORLD_RANK", "PMI_RANK"].contains(&name).then(|| value.parse().ok())?
        });
        if let (true, Some(rank)) = (folder == workplace.path("").canonicalize().unwrap(), rank.next()) {
            found.push((rank, Pid::from_raw(id).unwrap()));
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, process)| process).collect()
}

/// Starts a run, and waits until it has written so many steps.
fn start(workplace: &Workplace, mut command: Command, steps: usize) -> Child {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = || fs::read_to_string(workplace.path("out/metrics.jsonl")).map_or(0, |text| text.lines().count());
    let start = Instant::now();
    while lines() < steps {
        assert!(start.elapsed() < MINUTE, "no step is made");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

#[track_caller]
fn ends(workplace: &Workplace, child: Child) -> (bool, String) {
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    while !ranks(workplace).is_empty() {
        assert!(start.elapsed() < MINUTE, "processes are left: {error}");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(start.elapsed() < MINUTE, "{:?}: {error}", start.elapsed());
    (output.status.success(), error)
}

//! Whatever happens to one process ends all, in time, with a line that says what; nothing is lost.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use cogview4_data::{Columns, DataError, Dataset, Row, open_jsonl};
use cogview4_trainer::{Group, Packing, StopFlag, TrainConfig, Trainer};
use rustix::process::{Signal, kill_process};

use super::{ENDLESS, MINUTE, ends, fails, mpirun, ranks, start, succeeds, train};
use crate::support::{Workplace, fixtures};

#[test]
fn a_killed_process_ends_all_and_the_run_goes_on_to_the_same_bytes() {
    let workplace = Workplace::new();
    let flags = |folder| {
        ["--max_train_steps", "60", "--checkpointing_steps", "5", "--train_batch_size", "1", "--output_dir", folder]
    };
    succeeds(train(&workplace, 2, &flags("whole")));
    for (victim, steps) in [(0, 13), (1, 31)] {
        let resume = [&flags("out")[..], &["--resume_from_checkpoint", "latest"]].concat();
        let child = start(&workplace, train(&workplace, 2, &resume), steps);
        kill_process(ranks(&workplace)[victim], Signal::KILL).unwrap();
        let (success, error) = ends(&workplace, child);
        assert!(!success, "{error}");
    }
    let resume = ["--resume_from_checkpoint", "latest"];
    succeeds(train(&workplace, 2, &[&flags("out")[..], &resume].concat()));
    for file in ["diffusion_pytorch_model.safetensors", "checkpoint-60/optimizer.safetensors"] {
        assert!(workplace.bytes(&format!("out/{file}")) == workplace.bytes(&format!("whole/{file}")), "{file}");
    }
    let steps: Vec<u64> =
        workplace.json_lines("out/metrics.jsonl").iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert!(steps.into_iter().eq(1..=60));
}

#[test]
fn a_process_that_hangs_is_noticed_by_the_others() {
    let workplace = Workplace::new();
    let child = start(&workplace, train(&workplace, 2, &[ENDLESS, &["--collective_timeout", "3"]].concat()), 3);
    kill_process(ranks(&workplace)[1], Signal::STOP).unwrap();
    let (success, error) = ends(&workplace, child);
    assert!(!success && error.contains("error: rank 0 on ") && error.contains("collective_timeout: "), "{error}");
    assert!(error.contains("no end after 3 s"), "{error}");
}

/// A data set whose rows cannot be read any more, of one process, after so many reads.
struct Faulty {
    rows: Box<dyn Dataset>,
    left: AtomicUsize,
    panics: bool,
}

impl Dataset for Faulty {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn place(&self, index: usize) -> (std::path::PathBuf, usize) {
        self.rows.place(index)
    }

    fn row(&self, index: usize) -> cogview4_data::Result<Row> {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        match (left, self.panics) {
            (0, true) => panic!("planted"),
            (0, false) => Err(DataError::Row { path: "planted".into(), row: index, reason: "is gone".into() }),
            _ => self.rows.row(index),
        }
    }
}

/// One of the processes of [`a_panic_or_an_error_of_one_ends_all`], which starts this.
#[test]
#[ignore = "started by another test"]
fn one_of_several() {
    let Ok(fault) = std::env::var("FAULT") else { return };
    let group = Group::launched(MINUTE).unwrap();
    let rows = open_jsonl(Path::new("train.jsonl"), &Columns::default()).unwrap();
    let left = if group.rank() == 1 { 40 } else { usize::MAX };
    let data: Box<dyn Dataset> = Box::new(Faulty { rows, left: left.into(), panics: fault == "panic" });
    let mut config = TrainConfig::new(fixtures().join("plain"), "out");
    config.max_train_steps = Some(100_000);
    config.validation.steps = 100_000;
    config.pack = Packing::None;
    config.recipe.resolution = 32;
    config.recipe.train_batch_size = 1;
    let outcome = Trainer::in_group(config, data, StopFlag::default(), group.clone()).and_then(|run| run.run(&mut ()));
    group.end_all(outcome.unwrap_err());
}

#[test]
fn a_panic_or_an_error_of_one_ends_all() {
    for (fault, cause) in [("panic", "planted"), ("error", "is gone")] {
        let workplace = Workplace::new();
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "mpi::ends::one_of_several", "--ignored", "--nocapture"]);
        let mut command = mpirun(&workplace, 2, &program);
        command.env("FAULT", fault);
        let error = fails(command);
        assert!(error.contains("error: rank 1 on ") && error.contains(cause), "{fault}: {error}");
        assert!(ranks(&workplace).is_empty());
    }
}

/// Of one process files end early, as where its disk is full.
#[test]
fn a_full_disk_of_one_ends_all_and_leaves_nothing_half_written() {
    let workplace = Workplace::new();
    let script =
        "#!/bin/sh\n[ \"$OMPI_COMM_WORLD_RANK$PMI_RANK\" = 1 ] && { trap '' XFSZ; ulimit -f 8; }\nexec \"$@\"\n";
    fs::write(workplace.path("limited.sh"), script).unwrap();
    // What is packed already need not be written.
    workplace.succeeds(&["--pack_dir", "pack", "--output_dir", "packed"]);
    let run = workplace.command(&["--checkpointing_steps", "1", "--report_to", "none", "--pack_dir", "pack"]);
    let mut program = Command::new("sh");
    program.arg("limited.sh").arg(run.get_program()).args(run.get_args());
    let mut command = mpirun(&workplace, 2, &program);
    // Without files of Open MPI's own.
    command.env("OMPI_MCA_btl", "self,tcp");
    let error = fails(command);
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(lines.len() == 1 && lines[0].contains("rank 1 on ") && lines[0].contains("too large"), "{error}");
    let left = |name: &str| name.starts_with(".tmp-") || name.starts_with("checkpoint-");
    for entry in fs::read_dir(workplace.path("out")).unwrap().map(Result::unwrap) {
        assert!(!left(&entry.file_name().to_string_lossy()), "{:?}", entry.file_name());
    }
}

/// What the first process prints where all know the error: one line.
#[test]
fn what_is_wrong_for_all_is_one_line() {
    let workplace = Workplace::new();
    let lines = |error: &str| error.lines().filter(|line| line.starts_with("error: ")).map(str::to_owned).collect();
    for (processes, flags, culprit) in [
        (2, &["--learning_rate", "-1"][..], "--learning_rate"),
        (2, &["--num_processes", "4"], "--num_processes: 4 are asked for, 2 are there"),
        (2, &["--optimizer_in_backward", "--gradient_checkpointing"], "--optimizer_in_backward"),
        (2, &["--jsonl_for_train", "absent.jsonl"], "absent.jsonl"),
        (2, &["--fit", "1GiB"], "--fit"),
        (2, &["--learning_rate", "1e300", "--output_dir", "diverged"], "not a finite number"),
    ] {
        let lines: Vec<String> = lines(&fails(train(&workplace, processes, flags)));
        assert!(lines.len() == 1 && lines[0].contains(culprit), "{culprit}: {lines:?}");
    }
    // Of two launchers that disagree no process begins.
    let mut command = train(&workplace, 2, &[]);
    command.env("WORLD_SIZE", "8").env("RANK", "0");
    let error = fails(command);
    assert!(error.contains("WORLD_SIZE is 8"), "{error}");
}

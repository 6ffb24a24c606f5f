//! Processes that mpirun starts: they follow the path of one, and whatever happens to one of them ends all.
//!
//! `MPIRUN` names the mpirun of the MPI that the tests are built with.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use cogview4_data::{Columns, DataError, Dataset, Row, open_jsonl};
use cogview4_trainer::{Group, Packing, StopFlag, TrainConfig, Trainer};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    hub::{contains, loopback},
    support::{Workplace, fixtures},
};

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

/// Moments after the first step are the summed gradient, but for a factor.
#[test]
fn processes_sum_the_same_gradient_and_follow_the_path_of_one() {
    let workplace = Workplace::new();
    let yaml = fs::read_to_string(fixtures().join("training/accelerate.yaml")).unwrap();
    let run = |name: &str, processes: usize, [batch, micros]: [usize; 2]| {
        let file = format!("{processes}-{micros}.yaml");
        let text = yaml.replace("num_processes: 1", &format!("num_processes: {processes}"));
        let text = text.replace("gradient_accumulation_steps: 4", &format!("gradient_accumulation_steps: {micros}"));
        fs::write(workplace.path(&file), text.replace("mixed_precision: bf16", "mixed_precision: 'no'")).unwrap();
        let batch = batch.to_string();
        let flags = ["--config_file", &file, "--output_dir", name, "--train_batch_size", &batch];
        let more = ["--max_train_steps", "20", "--learning_rate", "1e-4", "--checkpointing_steps", "1"];
        let rest = ["--gradient_checkpointing", "--validation_steps", "100"];
        succeeds(train(&workplace, processes, &[&flags[..], &more, &rest].concat()));
    };
    run("one", 1, [8, 1]);
    let weights = "diffusion_pytorch_model.safetensors";
    let joint = |name: &str, file: &str, prefix: &str| {
        workplace.joint_distance(&format!("{name}/{file}"), &format!("one/{file}"), prefix)
    };
    for (name, processes, division) in [("two", 2, [4, 1]), ("four", 4, [2, 1]), ("two-micros", 2, [2, 2])] {
        run(name, processes, division);
        let gradient = joint(name, "checkpoint-1/optimizer.safetensors", "exp_avg.");
        assert!(gradient < 1e-6, "{name}: {gradient:.1e}");
        let weights = workplace.distance(&format!("{name}/{weights}"), &format!("one/{weights}"));
        assert!(weights < 1e-5, "{name}: {weights:.1e}");
    }
    run("again", 2, [4, 1]);
    for file in [weights, "checkpoint-20/optimizer.safetensors", "checkpoint-20/state.json"] {
        assert!(workplace.bytes(&format!("again/{file}")) == workplace.bytes(&format!("two/{file}")), "{file}");
    }
}

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
        program.args(["--exact", "mpi::one_of_several", "--ignored", "--nocapture"]);
        let mut command = mpirun(&workplace, 2, &program);
        command.env("FAULT", fault);
        let error = fails(command);
        assert!(error.contains("error: rank 1 on ") && error.contains(cause), "{fault}: {error}");
        assert!(ranks(&workplace).is_empty());
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

fn launch(workplace: &Workplace, flags: &[&str], run: &[&str]) -> Command {
    let run = workplace.command(run);
    let mut command = Command::new(run.get_program());
    command.arg("launch").args(flags).args(run.get_args()).current_dir(workplace.path(""));
    command.arg("--oversubscribe");
    command
}

#[test]
fn a_launch_that_is_asked_to_stop_writes_and_goes_on() {
    let workplace = Workplace::new();
    let flags = |folder| ["--max_train_steps", "400", "--checkpointing_steps", "1000", "--output_dir", folder];
    let two = ["--num_processes", "2"];
    succeeds(launch(&workplace, &two, &flags("whole")));
    let child = start(&workplace, launch(&workplace, &two, &flags("out")), 5);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let (success, error) = ends(&workplace, child);
    assert!(success, "{error}");
    let resume = [&flags("out")[..], &["--resume_from_checkpoint", "latest"]].concat();
    succeeds(launch(&workplace, &two, &resume));
    let weights = "diffusion_pytorch_model.safetensors";
    assert!(workplace.bytes(&format!("out/{weights}")) == workplace.bytes(&format!("whole/{weights}")));
}

#[test]
fn a_launch_starts_again_on_fewer_processes() {
    let workplace = Workplace::new();
    let flags = |folder| {
        ["--max_train_steps", "60", "--checkpointing_steps", "5", "--train_batch_size", "2", "--output_dir", folder]
    };
    succeeds(launch(&workplace, &["--num_processes", "2"], &flags("whole")));
    let again = ["--num_processes", "2", "--max_restarts", "1", "--restart_processes", "1"];
    let child = start(&workplace, launch(&workplace, &again, &flags("out")), 20);
    kill_process(ranks(&workplace)[1], Signal::KILL).unwrap();
    let (success, error) = ends(&workplace, child);
    assert!(success && error.contains("restart 1 of 1"), "{error}");
    let last = workplace.json_lines("out/metrics.jsonl").pop().unwrap();
    assert!(last["step"] == 60 && last.get("processes").is_none(), "{last}");
    let weights = "diffusion_pytorch_model.safetensors";
    let distance = workplace.distance(&format!("out/{weights}"), &format!("whole/{weights}"));
    assert!(distance < 1e-5, "{distance:.1e}");
}

/// The training command of the reference's README with all of its flags and its configuration file, but for sizes of a
/// small model, through `launch` and through mpirun.
#[test]
fn the_command_of_the_references_readme_as_several_processes() {
    let (workplace, hub) = (Workplace::new(), loopback());
    fs::copy(workplace.path("0-edges.png"), workplace.path("pose.png")).unwrap();
    let yaml = fs::read_to_string(fixtures().join("training/accelerate.yaml")).unwrap();
    for (processes, through_mpirun) in [(2, false), (2, true), (8, false)] {
        let text = yaml.replace("num_processes: 1", &format!("num_processes: {processes}"));
        fs::write(workplace.path("accelerate_ds.yaml"), text).unwrap();
        let folder = format!("pose-control-{processes}-{through_mpirun}");
        let mut program = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
        if !through_mpirun {
            program.args(["launch", "--oversubscribe"]);
        }
        program.args([
            "--config_file=accelerate_ds.yaml",
            "--pretrained_model_name_or_path=THUDM/CogView4-6B",
            "--dataset_name=raulc0399/open_pose_controlnet",
            &format!("--output_dir={folder}"),
            "--mixed_precision=bf16",
            "--train_batch_size=1",
            "--dataloader_num_workers=16",
            "--gradient_accumulation_steps=1",
            "--gradient_checkpointing",
            "--proportion_empty_prompts=0",
            "--learning_rate=5e-5",
            "--adam_weight_decay=1e-4",
            "--report_to=wandb",
            "--lr_scheduler=cosine",
            "--lr_warmup_steps=2",
            "--checkpointing_steps=2",
            "--max_train_steps=4",
            "--validation_steps=2",
            "--validation_image",
            "pose.png",
            "--validation_prompt",
            "two friends sitting by each other enjoying a day at the park, full hd, cinematic",
            "--offload",
            "--seed=0",
            "--resolution=32",
        ]);
        let mut command = if through_mpirun { mpirun(&workplace, processes, &program) } else { program };
        command.current_dir(workplace.path(""));
        command
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_HOME", workplace.path("hf"))
            .env("HF_TOKEN", "hf_verysecret");
        command.env_remove("HF_HUB_CACHE").env_remove("HF_HUB_OFFLINE");
        let printed = succeeds(command);
        // The first process alone says what it has to say.
        assert_eq!(printed.matches("without effect here: ").count(), 1, "{printed}");
        let run = workplace.path(&folder);
        for file in ["checkpoint-4/transformer/config.json", "README.md", "report.html", "wandb/latest-run/files/media"]
        {
            assert!(run.join(file).exists(), "{file}");
        }
        for picture in ["validation/step-2-1-1.png", "validation/step-4-1-1.png"] {
            assert!(run.join(picture).is_file(), "{picture}");
        }
        assert_eq!(workplace.json_lines(&format!("{folder}/metrics.jsonl")).len(), 4);
        assert!(!contains(&run, b"hf_verysecret"), "the token is in no file of a run");
    }
}

//! Runs that are pushed to the Hub.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use cogview4_data::FolderLock;
use loopback_hub::{Fault, Kind, LoopbackHub, Role};

use crate::{
    hub::{command, contains},
    support::Workplace,
};

const TOKEN: &str = "hf_verysecret";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// A run with everything that it can write.
const FLAGS: &[&str] = &[
    "--push_to_hub",
    "--checkpointing_steps",
    "1",
    "--validation_image",
    "0-edges.png",
    "--validation_prompt",
    "a square",
];

fn loopback() -> LoopbackHub {
    let hub = LoopbackHub::start();
    hub.add_token(TOKEN, Role::Write);
    hub.add_token("hf_reader", Role::Read);
    hub
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = stderr(&output);
    assert!(!output.status.success() && output.status.code().is_some(), "{error}");
    let line = error.trim_end().lines().last().unwrap_or_default().to_string();
    assert!(line.starts_with("error: ") && !error.contains("verysecret") && !error.contains("panicked"), "{error}");
    line
}

/// `push` with the environment of this Hub.
fn push(workplace: &Workplace, hub: &LoopbackHub, arguments: &[&str]) -> Command {
    let run = command(workplace, hub, &[]);
    let mut command = Command::new(run.get_program());
    command.arg("push").args(arguments).current_dir(workplace.path("."));
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// What is there is what the folder has; gives the paths.
fn check(hub: &LoopbackHub, id: &str, folder: &Path) -> Vec<String> {
    let files = hub.files(Kind::Model, id, "main");
    let own = files.into_iter().filter(|(path, _)| path != ".gitattributes");
    own.map(|(path, bytes)| {
        assert!(fs::read(folder.join(&path)).unwrap() == bytes, "{path}");
        path
    })
    .collect()
}

#[test]
fn a_run_pushes_what_is_for_others() {
    let (workplace, hub) = (Workplace::new(), loopback());
    let printed = succeeds(&mut command(&workplace, &hub, FLAGS));
    assert!(printed.contains(&format!("{}/tester/out: ", hub.endpoint())), "{printed}");
    let paths = check(&hub, "tester/out", &workplace.path("out"));
    for path in
        ["config.json", WEIGHTS, "metrics.jsonl", "report.html", "validation.jsonl", "validation/step-2-1-1.png"]
    {
        assert!(paths.iter().any(|found| found == path), "{path} is not in {paths:?}");
    }
    for path in &paths {
        let out =
            path.starts_with(['.']) || ["checkpoint-", "pack", "logs"].iter().any(|start| path.starts_with(start));
        assert!(!out, "{path}");
    }
    assert!(workplace.path("out/checkpoint-1").is_dir() && workplace.path("out/pack").is_dir());
    assert_eq!(hub.commits(Kind::Model, "tester/out").last().unwrap().1, "End of training");
    assert!(!contains(&workplace.path("out"), TOKEN.as_bytes()), "the token is in no file of a run");
    for request in hub.take_requests() {
        assert!(!String::from_utf8_lossy(&request.body).contains(TOKEN), "{}", request.path);
        assert!(request.authorization.is_none() || !request.is_to_store());
    }

    // Once more: nothing to commit, and that is no error.
    let printed = succeeds(&mut push(&workplace, &hub, &["out"]));
    assert!(printed.contains(": 0 files pushed"), "{printed}");
    assert_eq!(hub.commits(Kind::Model, "tester/out").len(), 2);
}

#[test]
fn a_push_that_fails_loses_nothing_and_says_how_to_go_on() {
    let (workplace, hub) = (Workplace::new(), loopback());
    hub.on(|request| request.path.contains("/commit/").then(|| Fault::refusal(403, "Storage quota exceeded")));
    let flags = [FLAGS, &["--hub_model_id", "testers/pose", "--hub_token", TOKEN]].concat();
    let mut run = command(&workplace, &hub, &flags);
    run.env("HF_TOKEN", "hf_of_the_environment");
    let error = fails(&mut run);
    let (reason, arguments) = error.split_once("push it with: train_control_cogview4 push ").expect(&error);
    assert!(reason.contains("Storage quota exceeded"), "{reason}");
    assert_eq!(arguments, "out --hub_model_id testers/pose");
    assert!(workplace.path("out").join(WEIGHTS).is_file());
    let report = fs::read_to_string(workplace.path("out/report.html")).unwrap();
    assert!(report.contains("finished"));
    assert!(!contains(&workplace.path("out"), TOKEN.as_bytes()), "the token is in no file of a run");

    hub.clear_faults();
    hub.take_requests();
    succeeds(&mut push(&workplace, &hub, &arguments.split(' ').collect::<Vec<_>>()));
    assert!(hub.take_requests().iter().all(|request| request.method != "PUT"), "what came is not sent again");
    assert!(check(&hub, "testers/pose", &workplace.path("out")).iter().any(|path| path == WEIGHTS));
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_push_at_once() {
    let (workplace, hub) = (Workplace::new(), loopback());
    hub.on(|request| request.path.contains("/commit/").then_some(Fault::Silent));
    let mut run = command(&workplace, &hub, FLAGS);
    let child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !hub.requests().iter().any(|request| request.path.contains("/commit/")) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5), "the Hub's answer was waited for");
    assert_eq!(output.status.code(), Some(130));
    let error = stderr(&output);
    assert!(error.trim_end().ends_with("push it with: train_control_cogview4 push out"), "{error}");
}

#[test]
fn what_cannot_be_pushed_is_known_before_training() {
    let (workplace, hub) = (Workplace::new(), loopback());
    let refused = |flags: &[&str], token: &str, culprit: &str| {
        let mut run = command(&workplace, &hub, &[&["--push_to_hub"], flags].concat());
        let error = fails(run.env("HF_TOKEN", token));
        assert!(error.contains(culprit), "{culprit:?} is not in {error}");
        assert!(!workplace.path("out").exists(), "{error}");
    };
    refused(&["--hub_token", "hf_wrong"], TOKEN, "--hub_token: ");
    refused(&["--hub_token", ""], TOKEN, "--hub_token: ");
    refused(&[], "hf_wrong", "HF_TOKEN");
    refused(&[], "", "HF_TOKEN");
    refused(&[], "hf_reader", "may only read");
    refused(&["--hub_model_id", "a b"], TOKEN, "--hub_model_id: ");
    refused(&["--hub_model_id", "somebody/pose"], TOKEN, "somebody");
    assert!(hub.requests().iter().all(|request| request.path == "/api/whoami-v2"));
}

#[test]
fn folders_that_are_no_runs_and_folders_in_use_are_refused() {
    let (workplace, hub) = (Workplace::new(), loopback());
    fs::create_dir(workplace.path("empty")).unwrap();
    assert!(fails(&mut push(&workplace, &hub, &["absent"])).contains("absent: there is no such folder"));
    assert!(fails(&mut push(&workplace, &hub, &["empty"])).contains("empty: holds no transformer"));
    assert!(!workplace.path("empty/.lock").exists());

    workplace.succeeds(&[]);
    let lock = FolderLock::acquire(&workplace.path("out"), ".lock").unwrap().unwrap();
    assert!(fails(&mut push(&workplace, &hub, &["out"])).contains("out: another run uses this folder"));
    drop(lock);
    succeeds(&mut push(&workplace, &hub, &["out", "--hub_model_id", "mine", "--private"]));
    assert_eq!(hub.is_private(Kind::Model, "tester/mine"), Some(true));

    fs::rename(workplace.path("out").join(WEIGHTS), workplace.path("weights")).unwrap();
    assert!(fails(&mut push(&workplace, &hub, &["out"])).contains("out: holds no transformer"));
    assert!(hub.files(Kind::Model, "tester/out", "main").is_empty());
}

#[test]
#[ignore = "needs Python with diffusers"]
fn python_loads_what_was_pushed_by_its_name() {
    let (workplace, hub) = (Workplace::new(), loopback());
    succeeds(&mut command(&workplace, &hub, FLAGS));
    let code = "from diffusers import CogView4Transformer2DModel as T; \
                print(T.from_pretrained('tester/out').config.in_channels)";
    let mut python = Command::new(std::env::var("REFERENCE_PYTHON").unwrap_or_else(|_| "python3".into()));
    python.args(["-c", code]).env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", workplace.path("python"));
    python.env("HF_HUB_DISABLE_XET", "1").env("HF_HUB_DISABLE_TELEMETRY", "1").env_remove("HF_HUB_CACHE");
    assert_eq!(succeeds(python.env_remove("HF_TOKEN")).trim(), "32");
}

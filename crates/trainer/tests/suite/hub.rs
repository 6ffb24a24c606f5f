//! Training by names on the Hub.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use loopback_hub::{Fault, Kind, LoopbackHub};

use crate::support::{Workplace, assets, fixtures};

const PIPELINE: &str = "THUDM/CogView4-6B";
const ROWS: &str = "raulc0399/open_pose_controlnet";

/// A Hub with the fixture pipeline and the figures, under the names of the reference's README.
pub(crate) fn loopback() -> LoopbackHub {
    let hub = LoopbackHub::start();
    hub.add_repo(Kind::Model, PIPELINE, "main", fixtures().join("plain").as_path());
    let figures = fs::read(assets().join("figures.parquet")).unwrap();
    let readme =
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n";
    let files = [("README.md", readme.as_bytes()), ("data/train-00000-of-00001.parquet", figures.as_slice())];
    hub.add_repo(Kind::Dataset, ROWS, "main", files);
    hub
}

/// A command with the environment of this Hub, and a cache of its own.
pub(crate) fn command(workplace: &Workplace, hub: &LoopbackHub, flags: &[&str]) -> Command {
    let mut command = workplace.command(flags);
    with_hub(&mut command, workplace, hub);
    command
}

/// Gives a command this Hub, and a cache of the workplace's own.
pub(crate) fn with_hub(command: &mut Command, workplace: &Workplace, hub: &LoopbackHub) {
    let cache = workplace.path("hf");
    command.env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", cache).env("HF_TOKEN", "hf_verysecret");
    command.env_remove("HF_HUB_CACHE").env_remove("HF_HUB_OFFLINE");
}

const FLAGS: &[&str] = &[
    "--pretrained_model_name_or_path",
    PIPELINE,
    "--dataset_name",
    ROWS,
    "--max_train_samples",
    "4",
    "--validation_image",
    "0-edges.png",
    "--validation_prompt",
    "a square",
];

#[track_caller]
fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    error
}

pub(crate) fn contains(folder: &Path, text: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().flatten().any(|entry| match entry.path().is_dir() {
        true => contains(&entry.path(), text),
        false => fs::read(entry.path()).unwrap().windows(text.len()).any(|window| window == text),
    })
}

#[test]
fn names_are_downloaded_once_and_give_what_folders_give() {
    let (workplace, hub) = (Workplace::new(), loopback());
    succeeds(command(&workplace, &hub, FLAGS));
    assert!(hub.take_requests().iter().any(|request| request.is_to_store()));
    let again = [FLAGS, &["--output_dir", "again"]].concat();
    succeeds(command(&workplace, &hub, &again));
    let requests = hub.take_requests();
    assert!(requests.iter().all(|request| request.path.starts_with("/api/")), "{requests:?}");
    let mut offline = command(&workplace, &hub, &[FLAGS, &["--output_dir", "offline"]].concat());
    offline.env("HF_HUB_OFFLINE", "1");
    succeeds(offline);
    assert!(hub.take_requests().is_empty());

    let figures = assets().join("figures.parquet");
    let folders = [&["--dataset_name", figures.to_str().unwrap(), "--output_dir", "folders"], &FLAGS[4..]].concat();
    workplace.succeeds(&folders);
    let weights = |run: &str| fs::read(workplace.path(run).join("diffusion_pytorch_model.safetensors")).unwrap();
    for run in ["again", "offline", "folders"] {
        assert!(weights(run) == weights("out"), "{run}");
    }
    for run in ["out", "again"] {
        assert!(!contains(&workplace.path(run), b"hf_verysecret"), "the token is in no file of a run");
    }
}

/// The training command of the reference's README with all of its flags but the folder, with sizes of a small model.
pub(crate) const README: &[&str] = &[
    "--config_file=accelerate_ds.yaml",
    "--offload",
    "--pretrained_model_name_or_path=THUDM/CogView4-6B",
    "--dataset_name=raulc0399/open_pose_controlnet",
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
    "--seed=0",
    "--resolution=32",
];

/// With its configuration file, for one process.
#[test]
fn the_command_of_the_references_readme() {
    let (workplace, hub) = (Workplace::new(), loopback());
    fs::copy(workplace.path("0-edges.png"), workplace.path("pose.png")).unwrap();
    fs::copy(fixtures().join("training/accelerate.yaml"), workplace.path("accelerate_ds.yaml")).unwrap();
    let train = || {
        let mut train = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
        train.current_dir(workplace.path(".")).args(README).arg("--output_dir=pose-control");
        with_hub(&mut train, &workplace, &hub);
        train
    };
    succeeds(train());
    let run = workplace.path("pose-control");
    for file in ["checkpoint-4/transformer/config.json", "README.md", "report.html", "wandb/latest-run/files/media"] {
        assert!(run.join(file).exists(), "{file}");
    }
    let card = fs::read_to_string(run.join("README.md")).unwrap();
    for line in ["base_model: \"THUDM/CogView4-6B\"", "raulc0399/open_pose_controlnet", "--max_train_steps=4"] {
        assert!(card.contains(line), "{line} is not in {card}");
    }
    assert!(!contains(&run, b"hf_verysecret"), "the token is in no file of a run");
    hub.take_requests();
    let mut again = train();
    again.args(["--resume_from_checkpoint", "latest"]);
    succeeds(again);
    assert!(hub.take_requests().iter().all(|request| request.path.starts_with("/api/")));
}

#[test]
fn a_transformer_by_name_and_a_row_as_a_picture() {
    let (workplace, hub) = (Workplace::new(), loopback());
    hub.add_repo(Kind::Model, "who/control", "main", fixtures().join("plain/transformer").as_path());
    let flags = [FLAGS, &["--transformer", "who/control", "--output_dir", "by-name"]].concat();
    succeeds(command(&workplace, &hub, &flags));
    assert!(workplace.path("by-name/diffusion_pytorch_model.safetensors").is_file());

    let mut inspect = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
    inspect.current_dir(workplace.path(".")).env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", workplace.path("hf"));
    inspect.args(["inspect", ROWS, "--row", "0", "--save", "pose.png"]);
    succeeds(inspect);
    assert!(workplace.path("pose.png").is_file());

    let other = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
        command.current_dir(workplace.path(".")).env("HF_ENDPOINT", hub.endpoint());
        command.env("HF_HOME", workplace.path("hf")).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    other(&["convert", "who/control", "converted", "--max_shard_size", "1MB"]);
    assert!(other(&["inspect", "who/control", "converted"]).contains(" 0 differ"));
    assert!(other(&["inspect", ROWS]).contains("rows, columns: image"));
}

/// A note that nobody reads is no reason to stop.
#[test]
fn another_try_without_a_standard_error() {
    let (workplace, hub) = (Workplace::new(), loopback());
    hub.fault("/revision/", [Fault::status(503).with_header("Retry-After", "0")]);
    let mut run = command(&workplace, &hub, FLAGS).stderr(Stdio::piped()).spawn().unwrap();
    drop(run.stderr.take());
    assert!(run.wait().unwrap().success());
}

#[test]
fn what_the_hub_refuses_is_one_line() {
    let (workplace, hub) = (Workplace::new(), loopback());
    let refused = |flags: &[&str], culprit: &str| {
        let output = command(&workplace, &hub, flags).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.trim_end().lines().count() == 1, "{error}");
        assert!(error.starts_with("error: ") && !error.contains("verysecret"), "{error}");
        assert!(error.contains(culprit) && error.matches("no folder of this name").count() <= 1, "{error}");
    };
    refused(&["--pretrained_model_name_or_path", "THUDM/absent"], "THUDM/absent");
    refused(&["--dataset_name", "who/absent"], "who/absent");
    refused(&[FLAGS, &["--revision", "v9"]].concat(), "v9");
    refused(&["--pretrained_model_name_or_path", "./THUDM/CogView4-6B"], "./THUDM/CogView4-6B");
    refused(&["--revision", "v9"], "--revision");
    hub.fault("/api/", [Fault::status(403)]);
    refused(FLAGS, ROWS);
}

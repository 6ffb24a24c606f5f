//! W&B's offline runs: that each step is there once, however a run was cut off, with its pictures, the configuration
//! and no secret. Read by a small reader of the format; W&B's own is in `wandb_sync.rs`.

use std::{collections::BTreeMap, fs, path::Path};

use cogview4_control_pipeline::load_image;
use serde_json::json;

use crate::{
    support::Workplace,
    wandb_reader::{Object, log_of, parts, read_part},
};

/// A run with all that it can tell W&B.
pub(crate) const FLAGS: &[&str] = &[
    "--report_to",
    "wandb",
    "--checkpointing_steps",
    "2",
    "--validation_steps",
    "3",
    "--validation_prompt",
    "a square",
    "number 3",
    "--validation_image",
    "1-edges.png",
    "2-edges.png",
    "--log_dataset_samples",
    "--resume_from_checkpoint",
    "latest",
];

/// Every number of `metrics.jsonl` and `validation.jsonl` is in one record of its step.
fn assert_complete(workplace: &Workplace, rows: &[Object]) {
    let steps: Vec<u64> = rows.iter().map(|row| row["_step"].as_u64().unwrap()).collect();
    let metrics = workplace.json_lines("out/metrics.jsonl");
    assert_eq!(steps, (0..=metrics.len() as u64).collect::<Vec<_>>());
    for line in &metrics {
        let row = &rows[line["step"].as_u64().unwrap() as usize];
        for key in ["loss", "lr", "grad_norm"] {
            assert_eq!(row[key], line[key]);
        }
        assert!(row["samples_per_second"].as_f64().unwrap() > 0.0);
    }
    for line in workplace.json_lines("out/validation.jsonl") {
        let row = &rows[line["step"].as_u64().unwrap() as usize];
        for key in ["loss_true", "control_gain", "control_norm"] {
            assert_eq!(row[&format!("validation/{key}")], line[key]);
        }
    }
    let times: Vec<f64> = rows.iter().map(|row| row["_runtime"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// The pictures under a name are those that the run has drawn.
fn assert_pictures(workplace: &Workplace, part: &Path, row: &Object, tag: &str) {
    let value = |key: &str| row[&format!("{tag}.{key}")].clone();
    let captions = json!(["Conditioning", "a square", "Conditioning", "number 3"]);
    assert_eq!((value("_type"), value("captions")), (json!("images/separated"), captions));
    assert_eq!((value("width"), value("height"), value("count")), (json!(32), json!(32), json!(4)));
    let step = &row["_step"];
    let sources = ["1-edges.png".into(), format!("out/validation/step-{step}-1-1.png")];
    let sources = sources.into_iter().chain(["2-edges.png".into(), format!("out/validation/step-{step}-2-1.png")]);
    for (name, source) in value("filenames").as_array().unwrap().iter().zip(sources) {
        let name = name.as_str().unwrap();
        assert!(name.starts_with(&format!("media/images/{tag}_{step}_")), "{name}");
        let [found, drawn] = [part.join("files").join(name), workplace.path(&source)]
            .map(|path| load_image(path.to_str().unwrap()).unwrap());
        assert!(found == drawn, "{name}");
    }
}

#[test]
fn a_run_that_goes_on_is_the_same_run_and_each_step_is_there_once() {
    let workplace = Workplace::new();
    let run = |steps: &str, flags: &[&str]| {
        let mut command = workplace.command(&[FLAGS, &["--max_train_steps", steps], flags].concat());
        command.env("WANDB_TAGS", "pose,first").env("WANDB_NAME", "a name").env("WANDB_ENTITY", "a team");
        let output = command.env_remove("WANDB_DIR").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("5", &[]);
    let wandb = workplace.path("out/wandb");
    let [first] = &parts(&wandb)[..] else { panic!("one part") };
    let part = read_part(first);
    assert_complete(&workplace, &part.history);
    assert_pictures(&workplace, first, &part.history[3], "validation");
    assert_pictures(&workplace, first, &part.history[5], "test");
    let samples = part.history[0]["dataset_samples.captions"].as_array().unwrap();
    assert!(samples.len() == 16 && samples[0] == "Conditioning" && samples[3].as_str().unwrap().starts_with("square"));
    let filenames = |row: &Object| {
        let lists = row.iter().filter(|(key, _)| key.ends_with(".filenames")).map(|(_, names)| names.clone());
        lists.flat_map(|names| names.as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    let named: Vec<_> = part.history.iter().flat_map(filenames).collect();
    assert_eq!(named.len(), 16 + 2 * 4);
    assert!(named.iter().all(|name| part.files.iter().any(|file| name == file) && first.join("files").exists()));
    assert_eq!((part.exit_code, &part.summary["loss"]), (Some(0), &part.history[5]["loss"]));
    assert_eq!(part.config["recipe"]["resolution"], 32);
    let id = part.run[&1].clone();
    let expected = [(1, id.as_str()), (2, "a team"), (3, "cogview4_train_control"), (8, "a name"), (10, "first")];
    for (number, value) in expected {
        assert_eq!(part.run[&number], value);
    }
    assert_eq!(fs::read_link(wandb.join("latest-run")).unwrap(), Path::new(first.file_name().unwrap()));

    // Killed in the middle of a write, when step 5 and all behind were not there yet, checkpoint-4 newest.
    let bytes = fs::read(log_of(first)).unwrap();
    let fifth = bytes.windows(6).position(|bytes| bytes == b"test_5").unwrap();
    let fourth = bytes[..fifth].windows(9).rposition(|bytes| bytes == b"grad_norm").unwrap();
    for (cut, steps, from) in [(fifth, "6", 5), (fourth - 40, "7", 4)] {
        fs::write(log_of(first), &bytes[..cut]).unwrap();
        for later in &parts(&wandb)[1..] {
            fs::remove_dir_all(later).unwrap();
        }
        fs::remove_dir_all(workplace.path("out/checkpoint-6")).ok();
        run(steps, &[]);
        let [first, second] = &parts(&wandb)[..] else { panic!("two parts") };
        let whole = fs::read(log_of(first)).unwrap();
        assert!(whole == bytes[..cut], "nothing is appended");
        let part = read_part(second);
        assert_eq!(part.history[0]["_step"], from);
        assert_eq!((&part.run[&1], part.run[&14].as_str(), part.run[&18].as_str()), (&id, &*from.to_string(), "1"));
        let last: usize = steps.parse().unwrap();
        let rows = workplace.json_lines("out/metrics.jsonl");
        assert_eq!(part.history.len(), last + 1 - from);
        for row in &part.history {
            assert_eq!(row["loss"], rows[row["_step"].as_u64().unwrap() as usize - 1]["loss"]);
        }
        assert_pictures(&workplace, second, part.history.last().unwrap(), "test");
    }

    // Another run in another folder of the same, and one that is not told to go on.
    fs::remove_dir_all(workplace.path("out/checkpoint-6")).ok();
    fs::remove_dir_all(workplace.path("out/checkpoint-4")).unwrap();
    fs::remove_dir_all(workplace.path("out/checkpoint-2")).unwrap();
    run("1", &[]);
    let newest =
        read_part(parts(&wandb).iter().max_by_key(|part| fs::metadata(part).unwrap().modified().unwrap()).unwrap());
    assert!(newest.run[&1] != id && !newest.run.contains_key(&18) && newest.history.len() == 2);
}

/// A signal between a step and its validation: the next part brings what is missing.
#[test]
fn what_a_stop_has_left_out_comes_with_the_next_part() {
    let workplace = Workplace::new();
    let flags = ["--report_to", "wandb", "--validation_steps", "1", "--resume_from_checkpoint", "latest"];
    let flags = [&flags[..], &["--max_train_steps", "400"]].concat();
    let mut run = workplace.command(&flags).stderr(std::process::Stdio::null()).spawn().unwrap();
    let lines = || fs::read_to_string(workplace.path("out/metrics.jsonl")).unwrap_or_default().lines().count();
    while lines() < 3 {
        assert!(run.try_wait().unwrap().is_none(), "the run ended before the signal");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::process::Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap();
    assert!(run.wait().unwrap().success());
    let total = (lines() + 2).to_string();
    workplace.succeeds(&[&flags[..6], &["--max_train_steps", &total]].concat());
    let mut rows: BTreeMap<u64, Object> = BTreeMap::new();
    for part in parts(&workplace.path("out/wandb")) {
        let part = read_part(&part);
        assert_eq!(part.exit_code, Some(0));
        for row in part.history {
            let whole = rows.entry(row["_step"].as_u64().unwrap()).or_default();
            for (name, value) in row {
                let old = whole.insert(name.clone(), value);
                assert!(name.starts_with('_') || old.is_none(), "{name} is there twice");
            }
        }
    }
    let rows: Vec<Object> = rows.into_values().collect();
    assert_complete(&workplace, &rows);
    assert!(rows.iter().all(|row| row.contains_key("validation/control_gain")));
}

#[test]
fn nothing_of_the_training_depends_on_it_and_nothing_secret_is_in_it() {
    let workplace = Workplace::new();
    let elsewhere = workplace.path("elsewhere");
    let flags = [FLAGS, &["--output_dir", "with", "--tracker_project_name", "project"]].concat();
    let mut command = workplace.command(&flags);
    command.env("WANDB_DIR", &elsewhere).env("WANDB_API_KEY", "secret-key").env("HF_TOKEN", "secret-token");
    assert!(command.output().unwrap().status.success());
    workplace.succeeds(&["--output_dir", "without", "--report_to", "none", "--checkpointing_steps", "2"]);
    for file in ["diffusion_pytorch_model.safetensors", "checkpoint-2/optimizer.safetensors", "checkpoint-2/state.json"]
    {
        let [with, without] = ["with", "without"].map(|folder| workplace.bytes(&format!("{folder}/{file}")));
        assert!(with == without, "{file}");
    }
    assert!(!workplace.path("with/wandb").exists() && !workplace.path("without/wandb").exists());
    let [folder] = &parts(&elsewhere.join("wandb"))[..] else { panic!("one part") };
    let bytes = fs::read(log_of(folder)).unwrap();
    assert!(!bytes.windows(7).any(|bytes| bytes == b"secret-"));
    assert_eq!(read_part(folder).run[&3], "project");
    // A folder that cannot be written is refused before any work.
    let mut command = workplace.command(&["--report_to", "wandb", "--output_dir", "refused"]);
    let output = command.env("WANDB_DIR", workplace.path("train.jsonl")).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("--report_to: ") && error.contains("train.jsonl"), "{error}");
}

/// A program `wandb` that says what it is told, and then ends as told.
#[cfg(unix)]
#[test]
fn the_program_is_run_when_asked_for_and_named_when_not() {
    use std::os::unix::fs::PermissionsExt;

    let workplace = Workplace::new();
    let run = |folder: &str, flags: &[&str], status: Option<u8>| {
        let (bin, output_dir) = (workplace.path("bin"), format!("an {folder}"));
        fs::create_dir_all(&bin).unwrap();
        fs::remove_file(bin.join("wandb")).ok();
        if let Some(status) = status {
            fs::write(bin.join("wandb"), format!("#!/bin/sh\necho told \"$@\" >&2\nexit {status}\n")).unwrap();
            fs::set_permissions(bin.join("wandb"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = workplace.command(&[&["--report_to", "wandb", "--output_dir", &output_dir], flags].concat());
        let output = command.env("PATH", &bin).env_remove("WANDB_DIR").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let line = |said: &str| said.lines().find(|line| line.contains("wandb sync 'an ")).map(String::from);
    assert_eq!(line(&run("unasked", &[], None)), None);
    let said = run("named", &[], Some(0));
    assert!(line(&said).unwrap().contains("wandb sync 'an named/wandb'/offline-run-*-") && !said.contains("told"));
    let said = run("sent", &["--wandb_sync"], Some(0));
    let part = parts(&workplace.path("an sent/wandb"))[0].canonicalize().unwrap();
    assert!(said.contains(&format!("told sync {}", part.display())) && line(&said).is_none(), "{said}");
    let said = run("refused", &["--wandb_sync"], Some(3));
    assert!(said.contains("told sync") && said.contains("exit status: 3") && line(&said).is_some(), "{said}");
    let said = run("missing", &["--wandb_sync"], None);
    assert!(said.contains("--wandb_sync: there is no program `wandb`") && line(&said).is_some(), "{said}");
}

#[test]
fn a_run_that_fails_says_so() {
    let workplace = Workplace::new();
    let flags = ["--report_to", "all", "--learning_rate", "1e300", "--max_train_steps", "9"];
    let mut command = workplace.command(&flags);
    assert!(!command.env_remove("WANDB_DIR").output().unwrap().status.success());
    let part = read_part(&parts(&workplace.path("out/wandb"))[0]);
    assert_eq!(part.exit_code, Some(1));
    assert_eq!(part.history.len(), 1 + workplace.json_lines("out/metrics.jsonl").len());
    assert!(workplace.path("out/logs/cogview4_train_control").is_dir());
}

//! What a run meets that is none of its own: files of others, names that are no text, tables that lie, flags out of all
//! measure.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, process::Command};

use burn::tensor::{DType, TensorData};
use cogview4_model::weights::{WeightFiles, save_tensors};

use crate::support::{Workplace, assets};

#[test]
fn lines_of_somebody_else_are_not_emptied() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path("out")).unwrap();
    for name in ["metrics.jsonl", "validation.jsonl"] {
        fs::write(workplace.path("out").join(name), "{\"x\": 1}\n").unwrap();
        workplace.refuses(&[], &[name, "no file of a run"]);
        assert_eq!(workplace.bytes(&format!("out/{name}")), b"{\"x\": 1}\n");
        fs::remove_file(workplace.path("out").join(name)).unwrap();
    }
    // Those of a run are its own to begin anew.
    workplace.succeeds(&[]);
    workplace.succeeds(&[]);
    assert_eq!(workplace.metrics("out").len(), 2);
}

#[test]
fn strays_with_the_names_of_checkpoints() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path("out")).unwrap();
    // A file where a checkpoint would be written: refused before any work.
    fs::write(workplace.path("out/checkpoint-2"), "mine").unwrap();
    workplace.refuses(&["--checkpointing_steps", "2"], &["checkpoint-2", "no folder"]);
    assert_eq!(workplace.bytes("out/checkpoint-2"), b"mine");
    fs::remove_file(workplace.path("out/checkpoint-2")).unwrap();
    // What is called as half of a checkpoint is one, whatever it is.
    fs::write(workplace.path("out/.tmp-checkpoint-2"), "half").unwrap();
    // A folder that has the name of a checkpoint and is none stays.
    fs::create_dir(workplace.path("out/checkpoint-0")).unwrap();
    fs::write(workplace.path("out/checkpoint-0/mine"), "mine").unwrap();
    workplace.succeeds(&["--checkpointing_steps", "1", "--checkpoints_total_limit", "1"]);
    assert_eq!(workplace.bytes("out/checkpoint-0/mine"), b"mine");
    assert!(!workplace.path("out/.tmp-checkpoint-2").exists() && !workplace.path("out/checkpoint-1").exists());
    // So does what somebody puts into a checkpoint that is removed.
    fs::write(workplace.path("out/checkpoint-2/notes.txt"), "mine").unwrap();
    let resume = ["--resume_from_checkpoint", "latest", "--max_train_steps", "3"];
    let limits = ["--checkpointing_steps", "1", "--checkpoints_total_limit", "1"];
    workplace.succeeds(&[&resume[..], &limits].concat());
    assert_eq!(workplace.bytes("out/checkpoint-2/notes.txt"), b"mine");
    assert!(!workplace.path("out/checkpoint-2/state.json").exists());
    assert!(workplace.path("out/checkpoint-3/state.json").exists());
}

#[test]
fn results_that_could_not_be_written_are_told_first() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path("out")).unwrap();
    let pipe = |name: &str| {
        assert!(Command::new("mkfifo").arg(workplace.path(name)).status().unwrap().success());
    };
    for name in ["out/diffusion_pytorch_model.safetensors", "out/config.json", "out/.lock"] {
        // The lock's file stays after a run.
        let _ = fs::remove_file(workplace.path(name));
        pipe(name);
        workplace.refuses(&[], &[name.trim_start_matches("out/"), "not a regular file"]);
        fs::remove_file(workplace.path(name)).unwrap();
    }
    assert!(!workplace.path("out/metrics.jsonl").exists());
    workplace.refuses(&["--tracker_project_name", "../../x"], &["--tracker_project_name"]);
}

#[test]
fn paths_need_not_be_text() {
    let workplace = Workplace::new();
    let folder = OsStr::from_bytes(b"o\xff");
    let run = |flags: &[&str]| {
        let pipeline = crate::support::fixtures().join("plain");
        let mut command = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
        command.current_dir(workplace.path(".")).arg("--pretrained_model_name_or_path").arg(pipeline);
        command.args(["--jsonl_for_train", "train.jsonl", "--resolution", "32", "--train_batch_size", "2"]);
        command.args(["--seed", "7"]).arg("--output_dir").arg(folder).args(flags);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["--max_train_steps", "2", "--checkpointing_steps", "1"]);
    run(&["--max_train_steps", "3", "--resume_from_checkpoint", "latest"]);
    let report = fs::read_to_string(workplace.path(".").join(folder).join("report.html")).unwrap();
    assert!(report.contains("learning_rate"), "settings are shown all the same");
}

#[test]
fn states_that_lie_are_refused() {
    let workplace = Workplace::new();
    workplace.succeeds(&["--checkpointing_steps", "2"]);
    let folder = workplace.path("out/checkpoint-2");
    fs::remove_file(folder.join("manifest.json")).unwrap();
    let state = fs::read_to_string(folder.join("state.json")).unwrap();
    let resume = ["--resume_from_checkpoint", "out/checkpoint-2", "--max_train_steps", "3"];
    for (from, to) in [
        ("\"step\": 2", "\"step\": 3"),
        ("\"processes\": 1", "\"processes\": 0"),
        ("\"train_batch_size\": 2", "\"train_batch_size\": 9223372036854775808"),
        ("\"gradient_accumulation_steps\": 1", "\"gradient_accumulation_steps\": 0"),
    ] {
        assert!(state.contains(from), "{from}");
        fs::write(folder.join("state.json"), state.replace(from, to)).unwrap();
        workplace.refuses(&resume, &["state.json"]);
    }
    fs::write(folder.join("state.json"), "[]").unwrap();
    workplace.refuses(&resume, &["state.json"]);
}

#[test]
fn data_sets_stay_in_their_folder() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path("set")).unwrap();
    let table = |rows: &str| fs::write(workplace.path("set/metadata.jsonl"), rows).unwrap();
    let secret = workplace.path("0.png");
    for name in ["../0.png", secret.to_str().unwrap(), "a/../../0.png"] {
        let line = serde_json::json!({ "file_name": name, "conditioning_image": name, "text": "a square" });
        table(&format!("{line}\n"));
        workplace.refuses(&["--dataset_name", "set"], &["row 1", "out of the data set's folder"]);
    }
    fs::copy(secret, workplace.path("set/0.png")).unwrap();
    table("{\"file_name\": \"./a/../0.png\", \"conditioning_image\": \"0.png\", \"text\": \"a square\"}\n");
    fs::create_dir(workplace.path("set/a")).unwrap();
    workplace.succeeds(&["--dataset_name", "set", "--max_train_steps", "1"]);
    fs::remove_file(workplace.path("set/metadata.jsonl")).unwrap();
    fs::write(
        workplace.path("set/metadata.csv"),
        "file_name,conditioning_image,text\n0.png,0.png,\"a\n0.png,0.png,b\n",
    )
    .unwrap();
    workplace.refuses(&["--dataset_name", "set"], &["metadata.csv", "quote"]);
}

#[test]
fn pipes_devices_and_broken_tables_in_data_sets() {
    let workplace = Workplace::new();
    assert!(Command::new("mkfifo").arg(workplace.path("pipe.png")).status().unwrap().success());
    let line = |image: &str| {
        let row = serde_json::json!({ "image": image, "conditioning_image": "0-edges.png", "text": "a square" });
        fs::write(workplace.path("bad.jsonl"), format!("{row}\n")).unwrap();
    };
    for image in ["pipe.png", "/dev/zero"] {
        line(image);
        workplace.refuses(&["--jsonl_for_train", "bad.jsonl"], &[image, "not a regular file"]);
    }
    // Escapes of a terminal, in a name that is not there, do not reach it.
    line("\u{1b}]0;title\u{7}.png");
    let mut command = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
    command.current_dir(workplace.path(".")).args(["check", "--jsonl_for_train", "bad.jsonl"]);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(!said.contains(&0x1b) && !said.contains(&7), "{}", String::from_utf8_lossy(&said));
    assert!(String::from_utf8_lossy(&said).contains(r"\u{1b}"));

    // Parquet whose footer lies.
    let whole = fs::read(assets().join("figures.parquet")).unwrap();
    let length = whole.len();
    let broken = |name: &str, bytes: Vec<u8>| {
        fs::write(workplace.path(name), bytes).unwrap();
        workplace.refuses(&["--dataset_name", name], &[name]);
    };
    broken("cut.parquet", whole[..length - 100].to_vec());
    broken("tail.parquet", [&whole[..length - 8], &u32::MAX.to_le_bytes(), b"PAR1"].concat());
    broken("zero.parquet", [&whole[..length - 8], &0_u32.to_le_bytes(), b"PAR1"].concat());
    broken("empty.parquet", Vec::new());
}

#[test]
fn flags_out_of_all_measure() {
    let workplace = Workplace::new();
    for (flag, value) in [
        ("--lr_power", "-inf"),
        ("--guidance_scale", "-inf"),
        ("--guidance_scale", "1e308"),
        ("--adam_epsilon", "0"),
        ("--dataloader_num_workers", "100000"),
        ("--train_batch_size", "9223372036854775808"),
        ("--max_train_steps", "1000000000000"),
        ("--num_train_epochs", "9223372036854775808"),
        ("--resolution", "65536"),
        ("--resolution", "536870912"),
    ] {
        workplace.refuses(&[flag, value], &[flag]);
    }
    let both = ["--train_batch_size", "2147483647", "--gradient_accumulation_steps", "2147483647"];
    workplace.refuses(&both, &["--gradient_accumulation_steps"]);
}

#[test]
fn pages_show_nothing_of_the_machine() {
    let workplace = Workplace::new();
    let folder = workplace.path("out");
    let root = fs::canonicalize(workplace.path(".")).unwrap();
    let prompt = ["--validation_prompt", "a square", "--validation_image"];
    let image = workplace.path("0-edges.png");
    let flags = ["--output_dir", folder.to_str().unwrap(), "--log_dataset_samples"];
    workplace.succeeds(&[&flags[..], &prompt, &[image.to_str().unwrap()]].concat());
    for name in ["report.html", "README.md"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(!text.contains(root.to_str().unwrap()) && !text.contains("/tests/fixtures"), "{name}");
    }
    let report = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(report.contains("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
    let rows = serde_json::json!({ "image": root.join("absent.png"), "conditioning_image": "0.png", "text": "x" });
    fs::write(workplace.path("rows.jsonl"), format!("{rows}\n")).unwrap();
    let rows = root.join("rows.jsonl");
    command.current_dir(&root).args(["check", "--output_dir", "out", "--jsonl_for_train"]).arg(rows);
    command.output().unwrap();
    let page = fs::read_to_string(folder.join("check.html")).unwrap();
    assert!(page.contains("absent.png") && !page.contains(root.to_str().unwrap()));
    assert!(page.contains("Content-Security-Policy"));
}

#[test]
fn frozen_models_of_no_numbers_are_named() {
    let workplace = Workplace::new();
    for (component, stem, key, culprit) in [
        ("vae", "diffusion_pytorch_model", "encoder.conv_in.weight", "autoencoder"),
        ("text_encoder", "model", "layers.0.input_layernorm.weight", "text encoder"),
    ] {
        let pipeline = workplace.pipeline(component);
        let folder = pipeline.join(component);
        let files = WeightFiles::open(&folder, stem).unwrap();
        let tensors: Vec<_> = files
            .keys()
            .map(|found| match files.read(found, DType::F32).unwrap() {
                data if found.ends_with(key) => {
                    (found, TensorData::new(vec![f32::NAN; data.num_elements()], data.shape().clone()))
                }
                data => (found, data),
            })
            .collect();
        save_tensors(&folder.join(format!("{stem}.safetensors")), tensors).unwrap();
        let flags = ["--pretrained_model_name_or_path", component, "--output_dir", "of-nothing"];
        workplace.refuses(&flags, &[culprit, "not finite numbers"]);
    }
}

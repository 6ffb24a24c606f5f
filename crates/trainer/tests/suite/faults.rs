//! What must not lose data: runs that diverge, share folders, meet files of others, damaged and stale checkpoints. And
//! what must be refused before work begins.

use std::{fs, process::Stdio, thread, time::Duration};

use burn::tensor::{DType, TensorData};
use cogview4_model::weights::{WeightFiles, save_tensors};

use crate::support::Workplace;

#[test]
fn a_run_that_diverges_keeps_its_last_good_checkpoint() {
    let workplace = Workplace::new();
    workplace.succeeds(&["--checkpointing_steps", "1"]);
    let resume = ["--resume_from_checkpoint", "latest", "--allow_config_change", "--max_train_steps", "9"];
    let diverging = ["--learning_rate", "1e300", "--checkpointing_steps", "1", "--checkpoints_total_limit", "1"];
    workplace.refuses(&[&resume[..], &diverging].concat(), &["step 3", "not a finite number"]);
    assert!(workplace.path("out/checkpoint-2/manifest.json").is_file());
    assert!(!workplace.path("out/checkpoint-3").exists());
    assert!(fs::read_to_string(workplace.path("out/report.html")).unwrap().contains("CogView4 Control: failed"));
    workplace.succeeds(&["--resume_from_checkpoint", "latest", "--max_train_steps", "3"]);

    // The last step of a run is no exception.
    workplace.refuses(&["--output_dir", "last", "--learning_rate", "1e300"], &["not a finite number"]);
    assert!(!workplace.path("last/diffusion_pytorch_model.safetensors").exists());
    for flag in ["--lr_power", "--logit_mean", "--mode_scale"] {
        workplace.refuses(&[flag, "NaN"], &[flag, "finite"]);
    }
}

#[test]
fn checkpoints_of_an_earlier_run_are_not_replaced() {
    let workplace = Workplace::new();
    workplace.succeeds(&["--max_train_steps", "4", "--checkpointing_steps", "2"]);
    let anew = ["--max_train_steps", "2", "--checkpointing_steps", "1", "--checkpoints_total_limit", "1"];
    workplace.refuses(&anew, &["--output_dir", "checkpoint-4", "resume"]);
    assert!(workplace.path("out/checkpoint-2").is_dir() && workplace.path("out/checkpoint-4").is_dir());
    // Going back to an earlier one never removes what is written then.
    let back = ["--resume_from_checkpoint", "out/checkpoint-2", "--max_train_steps", "3", "--checkpointing_steps", "1"];
    workplace.succeeds(&[&back[..], &["--checkpoints_total_limit", "1"]].concat());
    assert!(workplace.path("out/checkpoint-3").is_dir() && !workplace.path("out/checkpoint-4").exists());
}

#[test]
fn a_damaged_checkpoint_is_named_and_passed_over() {
    let workplace = Workplace::new();
    workplace.succeeds(&["--checkpointing_steps", "1"]);
    let resume = |from: &'static str| ["--resume_from_checkpoint", from, "--max_train_steps", "3"];
    for file in ["optimizer.safetensors", "state.json", "transformer/config.json"] {
        let path = workplace.path("out/checkpoint-2").join(file);
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        // Within a number or a word, so that only the hash tells.
        let place = damaged.iter().rposition(u8::is_ascii_alphanumeric).unwrap();
        damaged[place] ^= 1;
        fs::write(&path, &damaged).unwrap();
        workplace.refuses(&resume("out/checkpoint-2"), &["checkpoint-2"]);
        fs::write(&path, &whole).unwrap();
    }
    let manifest = workplace.path("out/checkpoint-2/manifest.json");
    fs::remove_file(&manifest).unwrap();
    // By its path it is taken, as one of an earlier release; `latest` takes the one before.
    let output = workplace.run(&resume("out/checkpoint-2"));
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("note: out/checkpoint-2"));
    assert_eq!(workplace.metrics("out").len(), 3);
    let output = workplace.run(&resume("latest"));
    assert!(output.status.success() && String::from_utf8(output.stderr).unwrap().contains("passed over"));
    assert_eq!(workplace.metrics("out").len(), 3);
}

#[test]
fn moments_and_steps_of_unguarded_checkpoints_are_looked_at() {
    let workplace = Workplace::new();
    workplace.succeeds(&["--checkpointing_steps", "2"]);
    let folder = workplace.path("out/checkpoint-2");
    fs::remove_file(folder.join("manifest.json")).unwrap();
    let resume = ["--resume_from_checkpoint", "out/checkpoint-2", "--max_train_steps", "3"];
    let state = fs::read_to_string(folder.join("state.json")).unwrap();
    for step in ["0", "18446744073709551615"] {
        fs::write(folder.join("state.json"), state.replace("\"step\": 2", &format!("\"step\": {step}"))).unwrap();
        workplace.refuses(&resume, &["state.json", "step"]);
    }
    fs::write(folder.join("state.json"), &state).unwrap();

    let path = folder.join("optimizer.safetensors");
    let files = WeightFiles::open_file(&path).unwrap();
    let tensors: Vec<(String, TensorData)> =
        files.keys().map(|key| (key.into(), files.read(key, DType::F32).unwrap())).collect();
    let victim = "exp_avg_sq.proj_out.bias";
    let write = |change: &dyn Fn(TensorData) -> Option<TensorData>| {
        let changed = tensors.iter().cloned().filter_map(|(key, data)| match key.as_str() {
            key if key == victim => change(data).map(|data| (key.to_string(), data)),
            _ => Some((key, data)),
        });
        save_tensors(&path, changed).unwrap();
    };
    write(&|_| None);
    workplace.refuses(&resume, &[victim]);
    write(&|data| Some(TensorData::new(vec![f32::NAN; data.num_elements()], data.shape().clone())));
    workplace.refuses(&resume, &[victim, "finite"]);
    write(&|_| Some(TensorData::new(vec![0.0_f32], [1])));
    workplace.refuses(&resume, &[victim, "1 values"]);
    write(&Some);
    workplace.succeeds(&resume);
}

#[test]
fn one_output_folder_is_for_one_run_and_one_pack_for_several() {
    let workplace = Workplace::new();
    let long = ["--max_train_steps", "100000", "--checkpointing_steps", "100000", "--pack_dir", "pack"];
    let mut first = workplace.command(&long).stderr(Stdio::null()).spawn().unwrap();
    while !workplace.path("out/metrics.jsonl").exists() {
        assert!(first.try_wait().unwrap().is_none(), "the first run ended");
        thread::sleep(Duration::from_millis(5));
    }
    workplace.refuses(&["--seed", "1"], &["out", "another run uses this folder"]);
    // The lock is the process's: it does not outlive a kill.
    first.kill().unwrap();
    first.wait().unwrap();
    workplace.succeeds(&["--pack_dir", "pack"]);

    // Two runs fill one pack at once; neither sees half of what the other writes.
    let flags = |output, resolution| {
        ["--output_dir", output, "--resolution", resolution, "--pack_dir", "shared", "--max_train_steps", "3"]
    };
    let [mut a, mut b] = [("a", "32"), ("b", "48")]
        .map(|(output, resolution)| workplace.command(&flags(output, resolution)).spawn().unwrap());
    assert!(a.wait().unwrap().success() && b.wait().unwrap().success());
    for (output, resolution) in [("a", "32"), ("b", "48")] {
        let alone = format!("{output}-alone");
        workplace.succeeds(&["--output_dir", &alone, "--resolution", resolution, "--max_train_steps", "3"]);
        assert_eq!(workplace.metrics(output), workplace.metrics(&alone));
    }
}

#[test]
fn files_of_others_in_the_pack_folder_stay() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path("theirs")).unwrap();
    for name in ["index.jsonl", "pack.bin"] {
        fs::write(workplace.path("theirs").join(name), "{\"file_name\": \"1.png\"}\n").unwrap();
        workplace.refuses(&["--pack_dir", "theirs"], &["theirs"]);
        assert_eq!(workplace.bytes(&format!("theirs/{name}")), b"{\"file_name\": \"1.png\"}\n");
        fs::remove_file(workplace.path("theirs").join(name)).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn outputs_are_regular_files_and_links_stay_links() {
    use std::os::unix::fs::{FileTypeExt, symlink};

    let workplace = Workplace::new();
    let pipe = workplace.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    workplace.refuses(&["--dump_step", "pipe"], &["pipe", "regular file"]);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    fs::write(workplace.path("target.safetensors"), "old").unwrap();
    symlink("target.safetensors", workplace.path("link.safetensors")).unwrap();
    workplace.succeeds(&["--dump_step", "link.safetensors", "--max_train_steps", "1"]);
    assert!(fs::symlink_metadata(workplace.path("link.safetensors")).unwrap().file_type().is_symlink());
    WeightFiles::open_file(&workplace.path("target.safetensors")).unwrap();
}

#[test]
fn what_can_be_known_is_refused_before_the_first_picture_is_packed() {
    let workplace = Workplace::new();
    workplace.succeeds(&["--checkpointing_steps", "1"]);
    let not_packed = |flags: &[&str], culprits: &[&str]| {
        let pack = ["--pack_dir", "untouched"];
        workplace.refuses(&[flags, &pack].concat(), culprits);
        let packed = workplace.path("untouched/pack.bin");
        assert!(fs::metadata(packed).map_or(0, |metadata| metadata.len()) == 0, "{flags:?}");
    };
    let resume = ["--resume_from_checkpoint", "latest", "--max_train_steps", "3"];
    not_packed(&[&resume[..], &["--learning_rate", "2e-3"]].concat(), &["other settings", "--allow_config_change"]);
    not_packed(&[&resume[..], &["--seed", "8"]].concat(), &["other settings"]);
    let long =
        workplace.command(&["--output_dir", "long", "--num_train_epochs", "2147483647", "--pack_dir", "untouched"]);
    let flags: Vec<_> = long.get_args().map(|flag| flag.to_str().unwrap().to_string()).collect();
    let steps = flags.iter().position(|flag| flag == "--max_train_steps").unwrap();
    let output = std::process::Command::new(long.get_program())
        .args(flags[..steps].iter().chain(&flags[steps + 2..]))
        .current_dir(workplace.path(""))
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("--num_train_epochs"));
    // The pipeline's parts are held against each other as when generating.
    for (file, from, to, culprit) in [
        ("transformer/config.json", "\"out_channels\": 16", "\"out_channels\": 8", "out_channels"),
        ("model_index.json", "CogView4ControlPipeline", "FluxPipeline", "FluxPipeline"),
        ("vae/config.json", "\"in_channels\": 3", "\"in_channels\": 1", "picture channels"),
    ] {
        let pipeline = workplace.pipeline("broken");
        let text = fs::read_to_string(pipeline.join(file)).unwrap();
        assert!(text.contains(from), "{file}: {from}");
        fs::write(pipeline.join(file), text.replace(from, to)).unwrap();
        let flags = ["--pretrained_model_name_or_path", pipeline.to_str().unwrap(), "--output_dir", "broken-out"];
        not_packed(&flags, &[culprit]);
    }
    // A model of the released width and depth needs more memory than there is, or more disk.
    let pipeline = workplace.pipeline("large");
    let config = pipeline.join("transformer/config.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut values: serde_json::Value = serde_json::from_str(&text).unwrap();
    values["num_layers"] = 1_000.into();
    values["num_attention_heads"] = 256.into();
    values["attention_head_dim"] = 128.into();
    values["time_embed_dim"] = 4096.into();
    fs::write(&config, values.to_string()).unwrap();
    let flags = ["--pretrained_model_name_or_path", pipeline.to_str().unwrap(), "--output_dir", "large-out"];
    not_packed(&flags, &["GB of memory are needed", "nothing fits"]);
}

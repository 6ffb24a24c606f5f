//! A run that is cut off and goes on gives what an uninterrupted run gives, byte for byte.

use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use crate::support::Workplace;

const STEPS: usize = 14;
const LAST: &str = "checkpoint-14";
/// Everything that could depend on when a run was cut off.
const FLAGS: &[&str] = &[
    "--max_train_steps",
    "14",
    "--checkpointing_steps",
    "2",
    "--checkpoints_total_limit",
    "3",
    "--gradient_accumulation_steps",
    "2",
    "--proportion_empty_prompts",
    "0.3",
    "--weighting_scheme",
    "logit_normal",
    "--control_latents",
    "sample",
    "--lr_scheduler",
    "cosine",
    "--lr_warmup_steps",
    "3",
    "--dataloader_num_workers",
    "2",
];

#[track_caller]
fn assert_same(workplace: &Workplace, expected: &str, found: &str) {
    for file in [
        "diffusion_pytorch_model.safetensors",
        &format!("{LAST}/transformer/diffusion_pytorch_model.safetensors"),
        &format!("{LAST}/optimizer.safetensors"),
        &format!("{LAST}/state.json"),
    ] {
        let [expected, found] = [expected, found].map(|folder| workplace.bytes(&format!("{folder}/{file}")));
        assert!(expected == found, "{file}");
    }
    assert_eq!(workplace.metrics(expected), workplace.metrics(found));
}

/// The optimiser's state as small as it gets, and on the disk.
const SMALL: &[&str] = &[
    "--mixed_precision",
    "bf16",
    "--use_8bit_adam",
    "--stochastic_rounding",
    "--optimizer_offload",
    "disk",
    "--param_offload",
    "disk",
    "--gradient_checkpointing",
    "--optimizer_in_backward",
];

#[test]
fn killed_at_any_moment() {
    is_killed_and_goes_on(&[]);
}

#[test]
fn killed_at_any_moment_with_its_state_on_the_disk() {
    is_killed_and_goes_on(SMALL);
}

#[track_caller]
fn is_killed_and_goes_on(more: &[&str]) {
    let workplace = Workplace::new();
    let flags = |folder| [FLAGS, more, &["--output_dir", folder, "--resume_from_checkpoint", "latest"]].concat();
    // What else the machine does may make a run longer: the shorter of two says how long one is.
    let times = ["whole", "again"].map(|folder| {
        let start = Instant::now();
        workplace.succeeds(&flags(folder));
        start.elapsed()
    });
    let whole = times[0].min(times[1]);
    assert_eq!(workplace.metrics("whole").len(), STEPS);
    assert_same(&workplace, "whole", "again");

    // Kill at moments spread over the whole run, packing included; each run goes on from what the last one left.
    let mut kills = 0;
    for round in 1_u32..200 {
        let mut run = workplace.command(&flags("cut")).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(whole.mul_f64(f64::from(round % 12) / 12.0) + Duration::from_millis(round.into()));
        if run.try_wait().unwrap().is_some_and(|status| status.success()) {
            break;
        }
        run.kill().unwrap();
        run.wait().unwrap();
        kills += 1;
        let checkpoints = fs::read_dir(workplace.path("cut")).map_or(0, |entries| {
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with("checkpoint-")).count()
        });
        assert!(checkpoints <= 4, "rotation keeps three, and one that was just written");
    }
    assert!(kills >= 3, "{kills} kills");
    assert_same(&workplace, "whole", "cut");
    let left = fs::read_dir(workplace.path("cut")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".tmp-")), "nor is a part of a result");
    let scratch = workplace.path("cut/scratch");
    assert!(!scratch.exists() || fs::read_dir(scratch).unwrap().count() == 0, "nothing is left of what is scratch");
}

#[test]
fn when_blocks_are_updated_changes_nothing_but_the_clipping() {
    let workplace = Workplace::new();
    let run = |output: &str, flags: &[&str]| {
        let common = ["--gradient_checkpointing", "--output_dir", output, "--max_grad_norm"];
        workplace.succeeds(&[FLAGS, &common, flags].concat());
    };
    for dtype in ["no", "bf16"] {
        let [after, within] = ["after", "within"].map(|name| format!("{name}-{dtype}"));
        run(&after, &["1e6", "--mixed_precision", dtype]);
        run(&within, &["1e6", "--mixed_precision", dtype, "--optimizer_in_backward"]);
        for file in ["diffusion_pytorch_model.safetensors", &format!("{LAST}/optimizer.safetensors")] {
            let [after, within] = [&after, &within].map(|folder| workplace.bytes(&format!("{folder}/{file}")));
            assert!(after == within, "{dtype}: {file}");
        }
        assert_eq!(workplace.metrics(&after), workplace.metrics(&within));
    }
    // Where it is clipped, the first step's norm is the same, and the next ones are near.
    run("exact", &["0.1"]);
    run("before", &["0.1", "--optimizer_in_backward"]);
    let norms = |output: &str| -> Vec<f64> {
        let lines = workplace.metrics(output);
        let norm = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["grad_norm"].as_f64();
        lines.iter().map(|line| norm(line).unwrap()).collect()
    };
    let (exact, before) = (norms("exact"), norms("before"));
    assert_eq!(exact[0], before[0]);
    assert_ne!(exact, before);
    assert!(exact.iter().zip(&before).all(|(a, b)| (a / b - 1.0).abs() < 0.1), "{exact:?} {before:?}");
}

#[test]
fn where_the_state_is_changes_nothing() {
    let workplace = Workplace::new();
    for (name, more) in [("full", &[][..]), ("8bit", &["--use_8bit_adam"]), ("small", &SMALL[..4])] {
        let run = |place: &str, flags: &[&str]| {
            let output = format!("{name}-{place}");
            let common = ["--output_dir", &output, "--optimizer_offload", place];
            workplace.succeeds(&[FLAGS, more, &common, flags].concat());
            output
        };
        let [memory, disk] = [run("none", &[]), run("disk", &["--scratch_dir", "fast/scratch"])];
        assert_same(&workplace, &memory, &disk);
        assert!(!workplace.path(&format!("{disk}/scratch")).exists());
    }
    let bytes = |name: &str| workplace.bytes(&format!("{name}-none/{LAST}/optimizer.safetensors")).len() as f64;
    assert!(bytes("8bit") < 0.5 * bytes("full"), "{} of {}", bytes("8bit"), bytes("full"));
    // From one form of the moments to the other, where that is wanted.
    let resume = ["--output_dir", "full-none", "--resume_from_checkpoint", "latest", "--use_8bit_adam"];
    workplace.refuses(&[FLAGS, &resume].concat(), &["other settings"]);
    for (output, more) in [("full-none", &["--use_8bit_adam"][..]), ("8bit-none", &[])] {
        let resume = ["--output_dir", output, "--resume_from_checkpoint", "latest", "--allow_config_change"];
        workplace.succeeds(&[&FLAGS[2..], more, &resume, &["--max_train_steps", "16"]].concat());
    }
}

#[test]
fn a_signal_ends_the_run_with_a_checkpoint() {
    let workplace = Workplace::new();
    workplace.succeeds(&[FLAGS, &["--output_dir", "whole"]].concat());
    let flags = |steps: &'static str| {
        let flags: Vec<&str> = FLAGS.iter().map(|&flag| if flag == "2" { steps } else { flag }).collect();
        [&flags[..], &["--output_dir", "cut", "--resume_from_checkpoint", "latest"]].concat()
    };
    // No checkpoint of its own accord, so what is there was written because of the signal.
    let mut flags = flags("2");
    let cadence = flags.iter().position(|&flag| flag == "--checkpointing_steps").unwrap() + 1;
    flags[cadence] = "100";
    for signal in ["-TERM", "-INT"] {
        let mut run = workplace.command(&flags).stderr(Stdio::null()).spawn().unwrap();
        let before = lines(&workplace);
        while lines(&workplace) <= before {
            assert!(run.try_wait().unwrap().is_none(), "the run ended before the signal");
            thread::sleep(Duration::from_millis(1));
        }
        let status = std::process::Command::new("kill").args([signal, &run.id().to_string()]).status().unwrap();
        assert!(status.success());
        assert!(run.wait().unwrap().success(), "{signal}");
        let steps = lines(&workplace);
        assert!(steps < STEPS && workplace.path(&format!("cut/checkpoint-{steps}/state.json")).is_file());
    }
    flags[cadence] = "2";
    workplace.succeeds(&flags);
    assert_same(&workplace, "whole", "cut");
}

#[test]
fn bfloat16_goes_on_from_f32_masters() {
    let workplace = Workplace::new();
    let flags = |output, steps| {
        ["--mixed_precision", "bf16", "--output_dir", output, "--max_train_steps", steps, "--checkpointing_steps", "3"]
    };
    workplace.succeeds(&flags("whole", "6"));
    workplace.succeeds(&flags("cut", "3"));
    workplace.succeeds(&[&flags("cut", "6")[..], &["--resume_from_checkpoint", "latest"]].concat());
    for file in ["diffusion_pytorch_model.safetensors", "checkpoint-6/optimizer.safetensors", "checkpoint-6/state.json"]
    {
        let [whole, cut] = ["whole", "cut"].map(|folder| workplace.bytes(&format!("{folder}/{file}")));
        assert!(whole == cut, "{file}");
    }
    // Half the bytes of an f32 file, and the same shape of a run as in f32.
    let size = |folder: &str| workplace.bytes(&format!("{folder}/diffusion_pytorch_model.safetensors")).len() as f64;
    workplace.succeeds(&[&flags("upcast", "6")[..], &["--upcast_before_saving"]].concat());
    assert!(size("whole") < 0.6 * size("upcast"));
    workplace.succeeds(&["--output_dir", "f32", "--max_train_steps", "6"]);
    let losses = |folder: &str| -> Vec<f64> {
        let loss = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
        workplace.metrics(folder).iter().map(loss).collect()
    };
    for (bf16, f32) in losses("whole").into_iter().zip(losses("f32")) {
        assert!((bf16 / f32 - 1.0).abs() < 0.01, "{bf16} {f32}");
    }
    assert_ne!(losses("whole"), losses("f32"));
}

fn lines(workplace: &Workplace) -> usize {
    fs::read_to_string(workplace.path("cut/metrics.jsonl")).unwrap_or_default().lines().count()
}

#[test]
fn an_incomplete_checkpoint_is_passed_over() {
    let workplace = Workplace::new();
    let flags = |folder| [FLAGS, &["--output_dir", folder, "--resume_from_checkpoint", "latest"]].concat();
    workplace.succeeds(&flags("whole"));
    workplace.succeeds(&[&flags("cut")[2..], &["--max_train_steps", "14"]].concat());
    let newest = workplace.path("cut/checkpoint-14");
    for broken in ["optimizer.safetensors", "state.json", "transformer/diffusion_pytorch_model.safetensors"] {
        let bytes = fs::read(newest.join(broken)).unwrap();
        fs::write(newest.join(broken), &bytes[..bytes.len() / 2]).unwrap();
        workplace.succeeds(&flags("cut"));
        assert_same(&workplace, "whole", "cut");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let workplace = Workplace::new();
    workplace.succeeds(&["--checkpointing_steps", "1"]);
    let resume = ["--resume_from_checkpoint", "latest", "--max_train_steps", "3"];
    workplace
        .refuses(&[&resume[..], &["--learning_rate", "2e-3"]].concat(), &["other settings", "--allow_config_change"]);
    workplace.refuses(&[&resume[..], &["--seed", "8"]].concat(), &["other settings"]);
    workplace.refuses(&[&resume[..], &["--weights", "int8"]].concat(), &["other settings"]);
    workplace.refuses(&[&resume[..], &["--max_train_samples", "4"]].concat(), &["another data set"]);
    workplace.succeeds(&[&resume[..], &["--learning_rate", "2e-3", "--allow_config_change"]].concat());
    workplace.refuses(&["--resume_from_checkpoint", "absent"], &["absent"]);

    // Weights that were changed by hand.
    let weights = workplace.path("out/checkpoint-2/transformer/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let path = ["--resume_from_checkpoint", "out/checkpoint-2", "--max_train_steps", "3"];
    workplace.refuses(&path, &["out/checkpoint-2", "not the one"]);
}

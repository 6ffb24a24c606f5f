//! Files that are no files, that change meanwhile, and ends of pipes where nobody listens.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{cli::example, hostile::Victim};

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_not_waited_for() {
    let victim = Victim::new("plain");
    let pipe = |name: &str| {
        let path = victim.folder.path().join(name);
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    pipe("pipe.png");
    pipe("pipe.safetensors");
    std::os::unix::fs::symlink("/dev/zero", victim.folder.path().join("zero.png")).unwrap();
    victim.refuses(&["--control_image", "pipe.png"], &["pipe.png", "not a regular file"]);
    victim.refuses(&["--control_image", "zero.png"], &["zero.png", "not a regular file"]);
    victim.refuses(&["--latents", "pipe.safetensors"], &["pipe.safetensors", "not a regular file"]);
    for file in ["model_index.json", "vae/config.json", "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"] {
        let original = fs::read(victim.path(file)).unwrap();
        fs::remove_file(victim.path(file)).unwrap();
        pipe(&format!("pipeline/{file}"));
        victim.refuses(&[], &[file]);
        fs::remove_file(victim.path(file)).unwrap();
        fs::write(victim.path(file), original).unwrap();
    }
}

#[test]
fn counts_have_bounds() {
    let victim = Victim::new("plain");
    for (flag, value) in [
        ("--num_images_per_prompt", "1000000000"),
        ("--num_images_per_prompt", "9223372036854775808"),
        ("--num_inference_steps", "1000000000"),
        ("--num_inference_steps", "9223372036854775808"),
        ("--detect_resolution", "32768"),
        ("--image_resolution", "32768"),
        ("--low_threshold", "-inf"),
        ("--guidance_scale", "-inf"),
    ] {
        victim.refuses(&[flag, value], &[flag.trim_start_matches('-')]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn weights_that_are_cut_while_they_are_used_are_named() {
    let victim = Victim::new("plain");
    let weights = victim.path("transformer/diffusion_pytorch_model.safetensors");
    // More steps than will be made.
    let child = Command::new(example("sft_infer"))
        .current_dir(victim.folder.path())
        .args(["--pretrained_model_name_or_path", "pipeline", "--height", "64", "--width", "64"])
        .args(["--num_inference_steps", "50000"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let maps = format!("/proc/{}/maps", child.id());
    let begun = Instant::now();
    while !fs::read_to_string(&maps).is_ok_and(|maps| maps.contains("transformer/diffusion_pytorch_model")) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the weights are not mapped");
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(300));
    fs::OpenOptions::new().write(true).open(&weights).unwrap().set_len(100).unwrap();
    let output = child.wait_with_output();
    let output = output.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("error: ") && error.trim_end().lines().count() == 1, "{error}");
    assert!(error.contains("diffusion_pytorch_model.safetensors"), "{error}");
}

#[cfg(unix)]
#[test]
fn who_does_not_listen_changes_nothing() {
    let victim = Victim::new("plain");
    let flags = ["--pretrained_model_name_or_path", "pipeline", "--height", "64", "--width", "64"];
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let run = |flags: &[&str]| {
        let mut command = Command::new(example("sft_infer"));
        command.current_dir(victim.folder.path()).args(flags).stderr(closed()).stdout(closed());
        command.status().unwrap()
    };
    assert!(run(&[&flags[..], &["--num_inference_steps", "1"]].concat()).success());
    assert!(victim.folder.path().join("cogview4.png").is_file());
    assert!(run(&[&flags[..], &["--plan"]].concat()).success());
    assert_eq!(run(&["--unknown"]).code(), Some(1));
}

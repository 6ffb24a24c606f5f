//! `sft_infer` as a user runs it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use cogview4::{CannyDetector, model::weights::load_tensor, open_image};
use image::RgbImage;

use crate::support::{MODEL_TOLERANCE, Parts, assert_close, device, fixtures, json};

/// An example's binary beside this test's; `cargo test` builds it, `cargo test --test suite` does not.
pub(crate) fn example(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let profile = here.ancestors().nth(2).unwrap();
    let path = profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.is_file(), "{} is not there: `cargo build --examples` makes it", path.display());
    path
}

fn open(path: &Path) -> RgbImage {
    open_image(path).unwrap()
}

/// Runs the program in a folder of its own.
pub(crate) fn sft_infer(folder: &Path, flags: &[&str]) -> Output {
    Command::new(example("sft_infer")).current_dir(folder).args(flags).output().unwrap()
}

/// Runs it to its end, and gives what it says on the way.
#[track_caller]
fn run(folder: &Path, flags: &[&str]) -> String {
    let output = sft_infer(folder, flags);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn without_flags_it_generates_a_picture_that_follows_its_edges() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["--output_control", "control.png", "--output_latents", "latents.safetensors"]);
    let latents = |path: &Path| load_tensor::<4>(path, "latents", &device()).unwrap();
    let [found, expected] = [folder.path().join("latents.safetensors"), fixtures().join("demo.safetensors")];
    assert_close("diffusers' latents", latents(&found), latents(&expected), 1e-4);
    let [picture, control] = ["cogview4.png", "control.png"].map(|name| open(&folder.path().join(name)));
    assert_eq!(picture.dimensions(), (64, 64));
    let fidelity = CannyDetector::for_size(&picture).fidelity(&picture, &control).unwrap();
    assert!(fidelity >= 0.8, "{fidelity}");
}

#[test]
fn the_picture_of_the_readme_is_what_its_command_generates() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("demo.png");
    let status = Command::new(example("demo_grid")).arg("--output").arg(&output).status().unwrap();
    assert!(status.success());
    let expected = open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo.png"));
    let found = open(&output);
    assert_eq!(found.dimensions(), expected.dimensions());
    let difference = found.iter().zip(expected.iter()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(difference <= Some(2), "{difference:?}");
}

#[test]
fn flags_reach_the_pipeline() {
    let pipeline = fixtures().join("plain");
    let pipeline = pipeline.to_str().unwrap();
    let case = &json("plain/cases.json")[0];
    let folder = tempfile::tempdir().unwrap();
    let seed = case["seed"].to_string();
    let control = format!("{pipeline}/control.png");
    let flags = |images: &'static str| {
        [
            ["--pretrained_model_name_or_path", pipeline],
            ["--control_image", &control],
            ["--processor", "none"],
            ["--prompt", case["prompt"].as_str().unwrap()],
            ["--negative_prompt", case["negative_prompt"].as_str().unwrap()],
            ["--height", "64"],
            ["--width", "96"],
            ["--num_inference_steps", "4"],
            ["--guidance_scale", "3.5"],
            ["--seed", &seed],
            ["--num_images_per_prompt", images],
            ["--output", "out.png"],
            ["--output_latents", "out.safetensors"],
        ]
        .concat()
    };
    run(folder.path(), &flags("2"));
    assert!(folder.path().join("out-1.png").is_file() && folder.path().join("out-2.png").is_file());
    assert!(!folder.path().join("out.png").exists());
    let latents = || load_tensor::<4>(&folder.path().join("out.safetensors"), "latents", &device()).unwrap();
    let expected = Parts::open("plain/latents.safetensors").tensor("0.latents");
    assert_close("latents", latents(), expected, MODEL_TOLERANCE);
    let plain = latents();

    // Noise from a file, another transformer folder, and the control latents drawn.
    let transformer = format!("{pipeline}/transformer");
    let more = ["--transformer", &transformer, "--control_latents", "sample", "--strict_text_mask"];
    let more = [&flags("2")[..], &more].concat();
    run(folder.path(), &more);
    let sampled = latents();
    run(folder.path(), &more);
    assert_close("the same seed", latents(), sampled.clone(), 0.0);
    let difference: f32 = (sampled - plain).abs().max().into_scalar();
    assert!(difference > 1e-3, "drawn control latents and hidden pads change the picture");
    std::fs::rename(folder.path().join("out.safetensors"), folder.path().join("noise.safetensors")).unwrap();
    run(folder.path(), &[&flags("2")[..], &["--latents", "noise.safetensors"]].concat());
    let error = sft_infer(folder.path(), &[&flags("1")[..], &["--latents", "noise.safetensors"]].concat());
    assert!(String::from_utf8_lossy(&error.stderr).starts_with("error: latents: shape [2, 16, 32, 48]"));
}

#[test]
fn the_control_image_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--num_inference_steps", "1", "--output", "a.png", "--output_control", "control.png"];
    let said = run(folder.path(), &flags);
    let last = said.lines().last().unwrap();
    let memory = !cfg!(target_os = "linux") || (last.contains("GB of memory, and") && !last.contains(" 0.00 GB"));
    assert!(last.contains(" s") && memory, "{said}");
    let edges = open(&folder.path().join("control.png"));
    assert_eq!(edges.dimensions(), (64, 64));
    assert!(edges.iter().all(|&byte| byte == 0 || byte == 255) && edges.contains(&255));
}

#[test]
fn help_names_every_flag() {
    let folder = tempfile::tempdir().unwrap();
    let output = sft_infer(folder.path(), &["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in "pretrained_model_name_or_path transformer control_image processor low_threshold high_threshold \
        detect_resolution image_resolution prompt negative_prompt height width num_inference_steps guidance_scale \
        num_images_per_prompt max_sequence_length control_latents strict_text_mask seed latents device dtype \
        weights offload max_memory vae_tiling plan fit output output_latents output_control"
        .split_whitespace()
    {
        assert!(help.contains(&format!("--{flag}")), "{flag}");
    }
}

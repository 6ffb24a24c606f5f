//! `random_pipeline`: what it writes is a pipeline.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use burn::tensor::DType;
use cogview4::model::weights::{WeightFiles, load_tensor};

use crate::{
    cli::{example, sft_infer},
    support::{device, values},
};

const TINY: [&str; 12] = [
    "--num_layers",
    "2",
    "--text_layers",
    "2",
    "--width",
    "128",
    "--text_width",
    "256",
    "--vae_width",
    "32",
    "--vocab_size",
    "1600",
];

fn random_pipeline(folder: &Path, flags: &[&str]) -> Output {
    Command::new(example("random_pipeline")).current_dir(folder).args(flags).output().unwrap()
}

#[track_caller]
fn writes(folder: &Path, name: &str, flags: &[&str]) {
    let output = random_pipeline(folder, &[&[name], &TINY[..], flags].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_small_one_loads_and_draws() {
    let folder = tempfile::tempdir().unwrap();
    writes(folder.path(), "model", &["--max_shard_size", "400kB"]);
    let component = |name: &str| folder.path().join("model").join(name);
    assert!(component("transformer").join("diffusion_pytorch_model.safetensors.index.json").is_file());

    // Normal numbers of bfloat16 around 0, as wide as their inputs ask for; norms around 1.
    let files = WeightFiles::open(&component("text_encoder"), "model").unwrap();
    let moments = |key: &str| {
        let found = values(files.read(key, DType::F32).unwrap());
        assert!(found.iter().all(|value| value.is_finite() && *value != 0.0), "{key}");
        let mean = found.iter().sum::<f32>() / found.len() as f32;
        let variance = found.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / found.len() as f32;
        (mean, variance.sqrt())
    };
    let (mean, spread) = moments("layers.0.mlp.down_proj.weight");
    let expected = (256.0_f32 * 13_696.0 / 4096.0).sqrt().recip();
    assert!(mean.abs() < 0.02 * expected && (spread / expected - 1.0).abs() < 0.02, "{mean} {spread}");
    let (mean, spread) = moments("layers.1.input_layernorm.weight");
    assert!((mean - 1.0).abs() < 0.01 && (spread - 0.02).abs() < 0.01, "{mean} {spread}");

    let flags = ["--height", "64", "--width", "96", "--num_inference_steps", "2", "--output_latents", "latents"];
    let output = sft_infer(folder.path(), &[&["--pretrained_model_name_or_path", "model"], &flags[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let latents = load_tensor::<4>(&folder.path().join("latents"), "latents", &device()).unwrap();
    assert_eq!(latents.dims(), [1, 16, 8, 12]);
    let size: f32 = latents.square().mean().sqrt().into_scalar();
    assert!((0.1..10.0).contains(&size), "{size}");
}

#[test]
fn the_seed_decides_the_weights_and_nothing_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    for (name, seed) in [("one", "1"), ("same", "1"), ("other", "2")] {
        writes(folder.path(), name, &["--seed", seed, "--base"]);
    }
    let [one, same, other] = ["one", "same", "other"]
        .map(|name| fs::read(folder.path().join(name).join("vae/diffusion_pytorch_model.safetensors")).unwrap());
    assert!(one == same && one != other);
    for (flags, culprit) in [
        (["one", "--seed", "3"], "one: the folder is there and not empty"),
        (["new", "--width", "100"], "--width: 100 is not a multiple of 128"),
        (["new", "--vocab_size", "9"], "--vocab_size: 9 is not from 1536"),
        (["new", "--num_layers", "0"], "--num_layers: 0 is not"),
        (["new", "--text_width", "1048576"], "new: "),
    ] {
        let output = random_pipeline(folder.path(), &flags);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(culprit) && error.trim().lines().count() == 1, "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left over");
}

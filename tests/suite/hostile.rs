//! Bad input of every kind: a non-zero exit status, one line that names the culprit, no panic and no picture.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    cli::sft_infer,
    support::{copy, fixtures},
};

/// A copy of a fixture pipeline that a test may break.
pub(crate) struct Victim {
    pub(crate) folder: tempfile::TempDir,
}

impl Victim {
    pub(crate) fn new(pipeline: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&fixtures().join(pipeline), &folder.path().join("pipeline"));
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("pipeline").join(name)
    }

    /// Changes a JSON file.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.path(name);
        let mut value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut value);
        fs::write(path, value.to_string()).unwrap();
    }

    /// Runs one step with these flags and expects a refusal that names all the culprits.
    #[track_caller]
    pub(crate) fn refuses(&self, flags: &[&str], culprits: &[&str]) {
        let defaults = ["--pretrained_model_name_or_path", "pipeline", "--height", "64", "--width", "64"];
        let steps = ["--num_inference_steps", "1"];
        let overridden = |flag: &&[&str]| !flags.contains(&flag[0]);
        let defaults = defaults.chunks(2).chain(steps.chunks(2)).filter(overridden).flatten().copied();
        let before = files(self.folder.path());
        let output = sft_infer(self.folder.path(), &defaults.chain(flags.iter().copied()).collect::<Vec<_>>());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{flags:?} was accepted");
        assert!(error.starts_with("error: ") && error.trim_end().lines().count() == 1, "{error}");
        assert!(!error.contains("panicked"), "{error}");
        for culprit in culprits {
            assert!(error.contains(culprit), "`{culprit}` is not in: {error}");
        }
        assert_eq!(files(self.folder.path()), before, "nothing is written");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

/// Rewrites a safetensors file whose header text is changed; the data stays.
pub(crate) fn edit_header(path: &Path, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    let rewritten = [&(header.len() as u64).to_le_bytes()[..], &header, &bytes[8 + length..]].concat();
    fs::write(path, rewritten).unwrap();
}

const WEIGHTS: &str = "transformer/diffusion_pytorch_model.safetensors";
const KEY: &str = "transformer_blocks.0.attn1.to_q.weight";

#[test]
fn the_victim_itself_is_fine() {
    for pipeline in ["plain", "variant"] {
        let victim = Victim::new(pipeline);
        let flags = ["--pretrained_model_name_or_path", "pipeline", "--height", "64", "--width", "64"];
        let output = sft_infer(victim.folder.path(), &[&flags[..], &["--num_inference_steps", "1"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn truncated_and_missing_weights() {
    let victim = Victim::new("plain");
    let bytes = fs::read(victim.path(WEIGHTS)).unwrap();
    for length in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(victim.path(WEIGHTS), &bytes[..length]).unwrap();
        victim.refuses(&[], &["diffusion_pytorch_model.safetensors"]);
    }
    fs::write(victim.path(WEIGHTS), [&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat()).unwrap();
    victim.refuses(&[], &["diffusion_pytorch_model.safetensors"]);
    fs::remove_file(victim.path(WEIGHTS)).unwrap();
    victim.refuses(&[], &["transformer", "diffusion_pytorch_model.safetensors"]);
    fs::remove_dir_all(victim.path("transformer")).unwrap();
    victim.refuses(&[], &["transformer/config.json"]);
}

#[test]
fn broken_shards() {
    let index = "transformer/diffusion_pytorch_model.safetensors.index.json";
    let victim = Victim::new("variant");
    let shards: Vec<_> = files(&victim.path("transformer"));
    let shard = shards.iter().find(|path| path.extension().is_some_and(|end| end == "safetensors")).unwrap();
    let name = shard.file_name().unwrap().to_str().unwrap();
    let bytes = fs::read(shard).unwrap();

    fs::write(shard, &bytes[..bytes.len() - 10]).unwrap();
    victim.refuses(&[], &[name]);
    fs::remove_file(shard).unwrap();
    victim.refuses(&[], &[name]);
    fs::write(shard, bytes).unwrap();

    victim.edit(index, |index| index["weight_map"][KEY] = "elsewhere.safetensors".into());
    victim.refuses(&[], &["elsewhere.safetensors"]);
    victim.edit(index, |index| index["weight_map"][KEY] = "../outside.safetensors".into());
    victim.refuses(&[], &["index.json", "../outside.safetensors"]);
    fs::write(victim.path(index), "{").unwrap();
    victim.refuses(&[], &["index.json"]);
}

#[test]
fn keys_that_are_missing_unexpected_or_of_another_shape() {
    let victim = Victim::new("plain");
    let original = fs::read(victim.path(WEIGHTS)).unwrap();
    edit_header(&victim.path(WEIGHTS), |header| {
        let tensor = header.remove(KEY).unwrap();
        header.insert("surplus.weight".into(), tensor);
    });
    victim.refuses(&[], &["missing key", KEY, "unexpected key", "surplus.weight"]);

    fs::write(victim.path(WEIGHTS), &original).unwrap();
    edit_header(&victim.path(WEIGHTS), |header| header[KEY]["shape"] = serde_json::json!([32, 128]));
    victim.refuses(&[], &[KEY, "[32, 128]", "[64, 64]", "diffusion_pytorch_model.safetensors"]);

    fs::write(victim.path(WEIGHTS), &original).unwrap();
    edit_header(&victim.path(WEIGHTS), |header| header[KEY]["dtype"] = "I32".into());
    victim.refuses(&[], &[KEY, "I32"]);
}

#[test]
fn broken_and_absent_configurations() {
    for name in [
        "model_index.json",
        "transformer/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
    ] {
        let victim = Victim::new("plain");
        fs::write(victim.path(name), "{ \"patch_size\": ").unwrap();
        victim.refuses(&[], &[name]);
        fs::remove_file(victim.path(name)).unwrap();
        victim.refuses(&[], &[name]);
    }
    let victim = Victim::new("plain");
    let edits: [(&str, &str, serde_json::Value); 9] = [
        ("transformer/config.json", "patch_size", 0.into()),
        ("transformer/config.json", "num_layers", "two".into()),
        ("transformer/config.json", "_class_name", "FluxTransformer2DModel".into()),
        ("transformer/config.json", "text_embed_dim", 48.into()),
        ("vae/config.json", "norm_num_groups", 7.into()),
        ("vae/config.json", "act_fn", "relu".into()),
        ("text_encoder/config.json", "num_key_value_heads", 3.into()),
        ("text_encoder/config.json", "model_type", "llama".into()),
        ("scheduler/scheduler_config.json", "use_karras_sigmas", true.into()),
    ];
    for (file, field, value) in edits {
        let original = fs::read(victim.path(file)).unwrap();
        victim.edit(file, |config| config[field] = value);
        let (_, name) = file.split_once('/').unwrap();
        victim.refuses(&[], &[name]);
        fs::write(victim.path(file), original).unwrap();
    }
}

#[test]
fn a_base_model_where_a_control_model_is_needed() {
    let victim = Victim::new("plain");
    copy(&victim.path("transformer"), &victim.folder.path().join("base"));
    let config = victim.folder.path().join("base").join("config.json");
    let text = fs::read_to_string(&config).unwrap().replace("\"in_channels\": 32", "\"in_channels\": 16");
    fs::write(config, text).unwrap();
    victim.refuses(&["--transformer", "base"], &["base/config.json", "in_channels", "base model"]);
}

#[test]
fn flags_out_of_range() {
    let victim = Victim::new("plain");
    fs::write(victim.folder.path().join("not.png"), "no picture").unwrap();
    fs::write(victim.folder.path().join("not.safetensors"), "no tensors").unwrap();
    for (flags, culprit) in [
        (["--height", "72"], "height"),
        (["--width", "0"], "width"),
        (["--width", "-16"], "--width"),
        (["--height", "99999999999999999984"], "--height"),
        (["--height", "4294967296"], "height"),
        (["--num_inference_steps", "0"], "num_inference_steps"),
        (["--num_images_per_prompt", "0"], "num_images_per_prompt"),
        (["--guidance_scale", "NaN"], "guidance_scale"),
        (["--max_sequence_length", "1"], "max_sequence_length"),
        (["--low_threshold", "inf"], "low_threshold"),
        (["--detect_resolution", "0"], "detect_resolution"),
        (["--processor", "pose"], "--processor"),
        (["--control_latents", "median"], "--control_latents"),
        (["--control_image", "absent.png"], "absent.png"),
        (["--control_image", "not.png"], "not.png"),
        (["--control_image", "http://127.0.0.1:1/a.png"], "127.0.0.1"),
        (["--latents", "absent.safetensors"], "absent.safetensors"),
        (["--latents", "not.safetensors"], "not.safetensors"),
        (["--pretrained_model_name_or_path", "absent"], "absent"),
        (["--transformer", "absent"], "absent"),
        (["--device", "tpu"], "tpu"),
        (["--device", "cuda:0"], "cuda:0"),
        (["--dtype", "float16"], "float16"),
        (["--dtype", "int4"], "int4"),
        (["--seed", "minus"], "--seed"),
        (["--output", "absent/out.png"], "absent/out.png"),
        (["--output", "out.txt"], "out.txt"),
        (["--output", "pipeline"], "pipeline"),
        (["--output_latents", "absent/latents.safetensors"], "absent/latents.safetensors"),
        (["--output_control", "absent/control.png"], "absent/control.png"),
        (["--unknown", "flag"], "--unknown"),
    ] {
        victim.refuses(&flags, &[culprit]);
    }
}

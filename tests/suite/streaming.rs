//! Weights that are read from their files while pictures are drawn.

use std::fs;

use cogview4::pipeline::plan::Placement;
use cogview4::{CogView4ControlPipeline, ControlRequest};

use crate::{cli::sft_infer, support::fixtures};

#[test]
fn the_picture_is_the_same_with_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = fixtures().join("plain");
    let flags = ["--pretrained_model_name_or_path", pipeline.to_str().unwrap(), "--num_inference_steps", "2"];
    let draw = |more: &[&str]| {
        let output = sft_infer(folder.path(), &[&flags, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(folder.path().join("latents.safetensors")).unwrap()
    };
    for dtype in ["float32", "bfloat16"] {
        let common = ["--dtype", dtype, "--output_latents", "latents.safetensors"];
        assert!(draw(&common) == draw(&[&common[..], &["--offload"]].concat()), "{dtype}");
    }
}

#[test]
fn a_file_that_is_cut_meanwhile_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("pipeline");
    crate::support::copy(&fixtures().join("plain"), &pipeline);
    let load = || CogView4ControlPipeline::from_pretrained(pipeline.as_path()).placement(Placement::Streamed).load();
    let request =
        || ControlRequest::new("a fox", image::RgbImage::new(64, 64)).height(64).width(64).num_inference_steps(2);
    load().unwrap().generate(&request()).unwrap();
    for file in ["text_encoder/model.safetensors", "transformer/diffusion_pytorch_model.safetensors"] {
        let pipe = load().unwrap();
        let path = pipeline.join(file);
        let whole = fs::read(&path).unwrap();
        // In place, as a copy over it does: the data behind the header goes.
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole.len() as u64 / 2).unwrap();
        let error = pipe.generate(&request()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("shorter") && error.lines().count() == 1, "{error}");
        fs::write(&path, whole).unwrap();
    }
}

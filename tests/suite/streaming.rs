//! Weights that are read from their files while pictures are drawn.

use std::{fs, path::Path};

use burn::tensor::Tensor;
use cogview4::model::weights::{WeightFormat, load_tensor};
use cogview4::pipeline::{convert, plan::Placement};
use cogview4::{CogView4ControlPipeline, ControlRequest};

use crate::{
    cli::sft_infer,
    support::{copy, device, distance, fixtures, values},
};

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
fn weights_in_8_bits_are_quantised_before_or_when_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, stored) = (fixtures().join("plain"), folder.path().join("int8"));
    convert(&plain, &stored, WeightFormat { int8: true, ..WeightFormat::default() }).unwrap();
    let draw = |pipeline: &Path, flags: &[&str]| -> Vec<f32> {
        let common = ["--num_inference_steps", "2", "--output_latents", "latents.safetensors"];
        let source = ["--pretrained_model_name_or_path", pipeline.to_str().unwrap()];
        let output = sft_infer(folder.path(), &[&common[..], &source, flags].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let latents: Tensor<4> = load_tensor(&folder.path().join("latents.safetensors"), "latents", &device()).unwrap();
        values(latents.into_data())
    };
    for dtype in ["float32", "bfloat16"] {
        let with = |flags: &[&'static str]| [&["--dtype", dtype], flags].concat();
        let float = draw(&plain, &with(&[]));
        let int8 = draw(&plain, &with(&["--weights", "int8"]));
        let difference = distance(&int8, &float);
        assert!((1e-5..0.02).contains(&difference), "{dtype}: {difference}");
        assert!(draw(&plain, &with(&["--weights", "int8", "--offload"])) == int8, "{dtype}, streamed");
        assert!(draw(&stored, &with(&[])) == int8, "{dtype}, stored");
        assert!(draw(&stored, &with(&["--offload"])) == int8, "{dtype}, stored and streamed");
    }
}

#[test]
fn a_budget_is_kept_to_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let plain = fixtures().join("plain");
    let common = ["--pretrained_model_name_or_path", plain.to_str().unwrap(), "--num_inference_steps", "1"];
    let output = sft_infer(folder.path(), &[&common[..], &["--max_memory", "4GiB"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = sft_infer(folder.path(), &[&common[..], &["--max_memory", "1MiB"]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: --max_memory: ") && error.trim_end().lines().count() == 1, "{error}");
}

#[test]
fn a_file_that_is_cut_meanwhile_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("pipeline");
    copy(&fixtures().join("plain"), &pipeline);
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

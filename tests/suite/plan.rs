//! `sft_infer --plan`, `--fit`, and what does not fit.

use std::{fs, io::Write, path::Path};

use cogview4::demo;
use serde_json::{Value, json};

use crate::cli::sft_infer;

/// The table and the plan for programs.
#[track_caller]
fn plan(folder: &Path, flags: &[&str]) -> (String, Value) {
    let output = sft_infer(folder, &[&["--plan"], flags].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap();
    let json = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"));
    (text, json)
}

#[track_caller]
fn refused(folder: &Path, flags: &[&str]) -> String {
    let output = sft_infer(folder, flags);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.trim().lines().count() == 1, "{error}");
    error
}

#[test]
fn a_plan_is_shown_and_nothing_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (text, found) = plan(folder.path(), &["--num_inference_steps", "7"]);
    for word in ["64x64, 7 steps with guidance, float32 on flex", "denoise", "at most", "it fits"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    for key in ["peak_device_bytes", "peak_host_bytes", "disk_bytes"] {
        assert!(found[key].is_u64(), "{key}: {found}");
    }
    assert_eq!((found["fits"].as_bool(), found["flags"].as_array().map(Vec::len)), (Some(true), Some(0)));
    assert!(found["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");

    // A large picture goes through the decoder in one piece or in tiles.
    let large = ["--height", "2048", "--width", "2048", "--num_inference_steps", "1"];
    let decoding = |flags: &[&str]| -> u64 {
        let (_, found) = plan(folder.path(), &[&large, flags].concat());
        let stage = found["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "decode").unwrap();
        stage["parts"].as_array().unwrap().iter().map(|part| part["bytes"].as_u64().unwrap()).sum()
    };
    assert!(decoding(&[]) > 3 * decoding(&["--vae_tiling", "512"]));
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let large = ["--height", "8192", "--width", "8192", "--num_inference_steps", "1"];
    let (text, found) = plan(folder.path(), &[&large[..], &["--fit", "100MiB"]].concat());
    assert!(
        found["fits"] == false && found["flags"].is_null() && text.contains("nothing fits, the least is"),
        "{text}"
    );
    let error = refused(folder.path(), &[&large[..], &["--fit", "100MiB"]].concat());
    assert!(error.starts_with("error: --fit: ") && error.contains("0.10 GB are to be had"), "{error}");

    // A transformer of which only the header is there: what its file holds is a hole of a terabyte.
    let transformer = folder.path().join("transformer");
    fs::create_dir(&transformer).unwrap();
    fs::copy(demo::pipeline().join("transformer/config.json"), transformer.join("config.json")).unwrap();
    let tensor = json!({ "dtype": "BF16", "shape": [1_000_000, 500_000], "data_offsets": [0, 1_000_000_000_000_u64] });
    let header = json!({ "transformer_blocks.0.attn1.to_q.weight": tensor }).to_string();
    let mut file = fs::File::create(transformer.join("diffusion_pytorch_model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + 1_000_000_000_000).unwrap();
    let error = refused(folder.path(), &["--transformer", "transformer"]);
    assert!(error.starts_with("error: 2000.") && error.contains("of memory are needed, "), "{error}");
    assert!(error.contains("nothing fits, the least is `"), "{error}");
}

#[test]
fn flags_that_fit_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let large = ["--height", "512", "--width", "512", "--num_inference_steps", "1"];
    let whole = plan(folder.path(), &large).1["peak_host_bytes"].as_u64().unwrap();
    let size = (whole / 10 * 7).to_string();
    let fit = [&large[..], &["--fit", &size]].concat();
    let (_, found) = plan(folder.path(), &fit);
    assert_eq!(found["flags"], json!(["--vae_tiling", "256"]), "{found}");
    assert!(found["fits"] == true && found["peak_host_bytes"].as_u64().unwrap() <= whole / 10 * 7);
    let output = sft_infer(folder.path(), &fit);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("drawing with --vae_tiling 256"), "{said}");
    assert!(folder.path().join("cogview4.png").is_file());
}

#[test]
fn flags_must_make_sense() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, culprit) in [
        (&["--vae_tiling", "100"][..], "--vae_tiling: 100 is not a multiple of 64"),
        (&["--offload", "--max_memory", "8GiB"], "--max_memory: --offload keeps"),
        (&["--fit", "much"], "--fit"),
    ] {
        let error = refused(folder.path(), flags);
        assert!(error.contains(culprit), "{error}");
    }
}

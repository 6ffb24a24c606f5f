//! Drawing by names on the Hub.

use std::{fs, process::Command};

use loopback_hub::{Kind, LoopbackHub};

use crate::{cli::example, support::fixtures};

#[test]
fn a_pipeline_by_name_draws_as_its_folder_does() {
    let (hub, place) = (LoopbackHub::start(), tempfile::tempdir().unwrap());
    hub.add_repo(Kind::Model, "THUDM/CogView4-6B", "main", fixtures().join("plain").as_path());
    hub.add_repo(Kind::Model, "who/control", "main", fixtures().join("plain/transformer").as_path());
    let folder = fixtures().join("plain");
    let draw = |pipeline: &str, output: &str, flags: &[&str]| {
        let small = ["--height", "64", "--width", "64", "--num_inference_steps", "1", "--output", output];
        let mut command = Command::new(example("sft_infer"));
        command.current_dir(place.path()).args(["--pretrained_model_name_or_path", pipeline]).args(small).args(flags);
        command.env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", place.path().join("hf"));
        command.env_remove("HF_HUB_CACHE").env_remove("HF_HUB_OFFLINE");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let picture = |name: &str| fs::read(place.path().join(name)).unwrap();
    draw(folder.to_str().unwrap(), "folder.png", &[]);
    assert!(hub.take_requests().is_empty(), "folders need no network");
    draw("THUDM/CogView4-6B", "name.png", &[]);
    assert!(picture("name.png") == picture("folder.png"));

    let checkpoint = folder.join("transformer");
    let other = place.path().join("other");
    let flags = ["--transformer", checkpoint.to_str().unwrap(), "--cache_dir", other.to_str().unwrap()];
    hub.take_requests();
    draw("THUDM/CogView4-6B", "checkpoint.png", &flags);
    assert!(picture("checkpoint.png") == picture("folder.png"));
    let requests = hub.take_requests();
    assert!(!requests.iter().any(|request| request.path.contains("/transformer/")), "what is replaced is not loaded");
    assert!(other.join("models--THUDM--CogView4-6B").is_dir());
    draw("THUDM/CogView4-6B", "both.png", &["--transformer", "who/control"]);
    assert!(picture("both.png") == picture("folder.png"));
}

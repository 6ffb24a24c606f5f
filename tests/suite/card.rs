//! The Rust programs of model cards, compiled and run: what a card is filled from is included here as it is.

use std::{error::Error, fs, path::Path, process::Command};

use cogview4::{
    data::{Columns, open_jsonl},
    open_image,
    trainer::{TrainConfig, Trainer, ValidationPair},
};
use image::RgbImage;

use crate::support::fixtures;

mod control {
    include!("../../crates/trainer/src/trackers/card/usage/control.rs");

    pub(super) fn run() -> Result<(), Box<dyn std::error::Error>> {
        main()
    }
}

mod base {
    include!("../../crates/trainer/src/trackers/card/usage/base.rs");

    pub(super) fn run() -> Result<(), Box<dyn std::error::Error>> {
        main()
    }
}

/// Where the programs look, before they are filled in.
const PIPELINE: &str = "path/to/pipeline";
const MODEL: &str = "path/to/model";
const CONTROL: &str = "path/to/control.png";

/// Runs a test of this file again, in a process whose current folder is `folder`.
#[track_caller]
fn run_in(folder: &Path, test: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args([test, "--exact", "--ignored"]).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// The code of a language in a card.
fn code_of<'a>(card: &'a str, language: &str) -> &'a str {
    card.split_once(&format!("```{language}\n")).unwrap().1.split_once("```").unwrap().0
}

#[test]
#[ignore = "is run by the test below, in a folder of its own"]
fn train_and_draw() -> Result<(), Box<dyn Error>> {
    let mut config = TrainConfig::new(PIPELINE, MODEL);
    config.recipe.resolution = 64;
    config.max_train_steps = Some(1);
    config.progress_bar = false;
    config.seed = Some(0);
    config.validation.pairs = vec![ValidationPair { prompt: "a prompt".into(), image: CONTROL.into() }];
    Trainer::new(config, open_jsonl("train.jsonl".as_ref(), &Columns::default())?)?.run(&mut ())?;
    control::run()
}

#[test]
#[cfg(unix)]
fn the_rust_program_of_a_card_draws_the_picture_of_the_card() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("path/to")).unwrap();
    std::os::unix::fs::symlink(fixtures().join("plain"), path(PIPELINE)).unwrap();
    let picture = RgbImage::from_fn(64, 64, |x, y| image::Rgb([if x.abs_diff(y) < 3 { 255 } else { 0 }; 3]));
    picture.save(path(CONTROL)).unwrap();
    let row = serde_json::json!({ "image": CONTROL, "conditioning_image": CONTROL, "text": "a line" });
    fs::write(path("train.jsonl"), format!("{row}\n{row}\n")).unwrap();
    run_in(folder.path(), "card::train_and_draw");

    let card = fs::read_to_string(path(MODEL).join("README.md")).unwrap();
    let program = code_of(&card, "rust").replace(&format!("{MODEL}/image_control_0.png"), CONTROL);
    assert_eq!(program, include_str!("../../crates/trainer/src/trackers/card/usage/control.rs"), "what was run");
    let [drawn, shown] = [path("cogview4.png"), path(MODEL).join("images_0.png")].map(|name| open_image(name).unwrap());
    assert!(drawn == shown, "the program draws the picture beside it");
}

#[test]
#[ignore = "is run by the test below, in a folder of its own"]
fn draw_with_a_base_model() -> Result<(), Box<dyn Error>> {
    base::run()
}

#[test]
#[cfg(unix)]
fn the_rust_program_of_a_base_model_draws() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("path/to")).unwrap();
    let demo = cogview4::demo::pipeline();
    std::os::unix::fs::symlink(&demo, folder.path().join(PIPELINE)).unwrap();
    std::os::unix::fs::symlink(cogview4::demo::base_transformer(), folder.path().join(MODEL)).unwrap();
    run_in(folder.path(), "card::draw_with_a_base_model");
    assert_eq!(open_image(folder.path().join("cogview4.png")).unwrap().dimensions(), (64, 64));
}

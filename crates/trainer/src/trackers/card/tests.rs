//! Cards as text: what the Hub reads of them, what a person reads, and whose they are.

use std::fs;

use image::Rgb;

use super::*;
use crate::{
    metrics::{Fidelity, ValidationImage},
    validation::ControlPicture,
};
use std::path::Path;

/// What would break YAML, tables, code and HTML.
const PROMPT: &str = "a \"fox\": <b>bold</b> | `code`\n---\n- tag: x\n```\n# 'title' {% raw %} \\ $x$ \u{1b}[0m";

fn metrics(step: usize) -> String {
    let line = serde_json::json!({"step": step, "loss": 1.0 / step as f64, "lr": 1e-3, "grad_norm": 1.0,
        "samples_per_second": 2.0, "peak_memory_bytes": 1, "data_seconds": 0.0});
    format!("{line}\n")
}

fn validation(step: usize, fidelity: Fidelity) -> Validation {
    let image = ValidationImage {
        file: "validation/a.png".into(),
        pair: 1,
        repeat: 1,
        seed: 7,
        prompt: PROMPT.into(),
        fidelity,
    };
    Validation {
        step,
        loss_true: Some(0.5),
        loss_shuffled: Some(0.75),
        loss_zero: Some(0.6),
        control_gain: Some(0.5),
        control_norm: 0.1,
        fidelity,
        controls: "the controls are edges of their pictures: F1 0.98".into(),
        probe: "8 training rows".into(),
        images: vec![image.clone(), ValidationImage { repeat: 2, ..image }],
        seconds: 1.0,
    }
}

/// A run of five steps in a folder.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("validation")).expect("a folder");
    RgbImage::from_pixel(8, 8, Rgb([9, 200, 30])).save(folder.path().join("validation/a.png")).expect("a picture");
    fs::write(folder.path().join("metrics.jsonl"), (1..6).map(metrics).collect::<String>()).expect("a file");
    let fidelity =
        Fidelity { edge_f1: Some(0.7), edge_precision: Some(0.8), edge_recall: Some(0.62), ..Fidelity::default() };
    let line = serde_json::to_string(&validation(5, fidelity)).expect("JSON");
    fs::write(folder.path().join("validation.jsonl"), line + "\n").expect("a file");
    folder
}

fn card(folder: &Path, change: impl FnOnce(&mut TrainConfig)) -> Card {
    let mut config = TrainConfig::new("/home/someone/models/base", folder);
    change(&mut config);
    let controls = [ControlPicture { prompt: PROMPT.into(), image: RgbImage::new(8, 8) }];
    let controls = if config.recipe.control { &controls[..] } else { &[] };
    Card::new(&config, 10, &Shown { controls, samples: &[], rows: 160, seed: 3 })
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The front matter, as far as YAML goes in it: keys, lists of strings, and lists of maps in two depths.
fn front(card: &str) -> serde_json::Map<String, serde_json::Value> {
    let text = card.strip_prefix("---\n").expect("a fence").split("\n---\n").next().expect("a fence");
    let scalar = |text: &str| match text.starts_with('"') {
        true => serde_json::from_str(text).expect("a quoted string"),
        false => {
            assert!(
                !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)),
                "{text}"
            );
            serde_json::Value::from(text)
        }
    };
    let (mut found, mut list) = (serde_json::Map::new(), String::new());
    for line in text.lines() {
        if let Some(item) = line.strip_prefix("- ") {
            let item = item.strip_prefix("text: ").unwrap_or(item);
            found[&list].as_array_mut().expect("a list").push(scalar(item));
        } else if let Some(url) = line.strip_prefix("    url: ") {
            found[&list].as_array_mut().expect("a list").push(scalar(url));
        } else if line != "  output:" {
            let (key, value) = line.split_once(':').expect("a key");
            let value = value.trim_start();
            list = key.into();
            found.insert(key.into(), if value.is_empty() { serde_json::json!([]) } else { scalar(value) });
        }
    }
    found
}

/// The code of a language in a card.
fn code_of<'a>(card: &'a str, language: &str) -> &'a str {
    let (before, rest) = card.split_once(&format!("`{language}\n")).expect("a block");
    let fence = format!("\n{}`\n", "`".repeat(before.len() - before.trim_end_matches('`').len()));
    rest.split_once(&fence).expect("an end").0
}

#[test]
fn the_front_matter_is_what_the_hub_takes() {
    let folder = folder();
    let names = |config: &mut TrainConfig| {
        config.card.base_model = Some("THUDM/CogView4-6B".into());
        config.card.dataset = Some("raulc0399/open_pose_controlnet".into());
    };
    card(folder.path(), names).finish("finished").expect("a card");
    let found = front(&read(folder.path(), "README.md"));
    let expected = serde_json::json!({
        "base_model": "THUDM/CogView4-6B", "datasets": ["raulc0399/open_pose_controlnet"], "library_name": "diffusers",
        "license": "other", "pipeline_tag": "text-to-image", "inference": "true",
        "tags": ["cogview4", "cogview4-diffusers", "text-to-image", "diffusers", "control", "diffusers-training"],
        "widget": [PROMPT, "images_0.png"],
    });
    assert_eq!(serde_json::Value::from(found), expected);

    card(folder.path(), |config| config.recipe.control = false).finish("finished").expect("a card");
    let text = read(folder.path(), "README.md");
    let found = front(&text);
    assert!(!found.contains_key("base_model") && !found.contains_key("datasets") && !found.contains_key("widget"));
    assert!(!found["tags"].as_array().expect("a list").contains(&"control".into()));
    assert!(!text.contains("/home/someone") && text.contains("the pipeline `base`"), "{text}");
    assert!(code_of(&text, "rust").contains("TextRequest::new(\"a prompt\").height(1024)"));
    assert!(code_of(&text, "python").contains("CogView4Pipeline.from_pretrained(\"base\""));
}

#[test]
fn a_card_says_what_was_measured_and_breaks_at_nothing() {
    let folder = folder();
    let change = |config: &mut TrainConfig| {
        config.card.hub_model_id = Some("me/pose-control".into());
        config.card.command_line = Some("train_control_cogview4 \\\n    --validation_prompt '```\n# x'".into());
    };
    card(folder.path(), change).finish("finished").expect("a card");
    let text = read(folder.path(), "README.md");
    for expected in [
        "# pose-control\n",
        "in 5 steps on 160 pairs",
        "- **Control gain**: 50.0 %.",
        "edge F1 0.70 (precision 0.80, recall 0.62)",
        "![Loss and control gain by step](training.svg)",
        "| ![control image](image_control_0.png) | ![pictures](images_0.png) | a \"fox\": &lt;b&gt;bold&lt;/b&gt; \\| \\`code\\` ---",
        "| `seed` | 3 |",
        "````sh\ntrain_control_cogview4 \\\n    --validation_prompt '```\n# x'\n````\n",
        "https://huggingface.co/me/pose-control/resolve/main/image_control_0.png",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    // Outside of code, nothing of the prompt is more than text.
    let rust = code_of(&text, "rust");
    let prose = text.replace(rust, "").replace(code_of(&text, "python"), "");
    let prose = prose.split_once("\n---\n").expect("front matter").1;
    assert!(!prose.contains("<b>") && !prose.contains("\n- tag") && !text.contains('\u{1b}'));
    assert!(
        rust.contains(&format!("{PROMPT:?}"))
            && rust.contains(".seed(7)")
            && rust.contains(".transformer(\"me/pose-control\")")
    );
    assert!(code_of(&text, "python").contains(&serde_json::Value::from(PROMPT).to_string()));
    let svg = read(folder.path(), "training.svg");
    assert!(svg.starts_with("<svg") && svg.contains("Control gain in percent") && svg.contains("smoothed"));
    let pictures = image::open(folder.path().join("images_0.png")).expect("a picture").to_rgb8();
    assert_eq!(pictures.dimensions(), (16, 8), "both repeats");
    assert!(folder.path().join("image_control_0.png").is_file());
}

#[test]
fn of_a_stopped_run_the_checkpoint_is_shown_and_of_a_failed_one_nothing() {
    let folder = folder();
    card(folder.path(), |_| ()).finish("failed").expect("nothing");
    assert!(!folder.path().join("README.md").exists());
    card(folder.path(), |_| ()).finish("stopped").expect("a card");
    let text = read(folder.path(), "README.md");
    assert!(
        text.contains("**The run was stopped after step 5 of 10.** The weights are in `checkpoint-5/transformer`.")
    );
    let name = folder.path().file_name().expect("a name").to_str().expect("text");
    assert!(code_of(&text, "rust").contains(&format!("\"{name}/checkpoint-5/transformer\"")));
    assert!(code_of(&text, "rust").contains(&format!("\"{name}/image_control_0.png\"")));
}

#[test]
fn a_card_that_a_person_touched_is_left_alone() {
    let folder = folder();
    let write = |seed: u64| {
        let mut card = card(folder.path(), |_| ());
        card.seed = seed;
        card.finish("finished").expect("a card");
    };
    let [readme, beside] = ["README.md", "README.generated.md"].map(|name| folder.path().join(name));
    write(1);
    write(2);
    assert!(read(folder.path(), "README.md").contains("| `seed` | 2 |") && !beside.exists());
    let edited = read(folder.path(), "README.md").replace("# ", "# My ");
    for theirs in [edited.as_bytes(), b"# Notes\n", b"", b"\xff"] {
        fs::write(&readme, theirs).expect("a file");
        write(3);
        assert_eq!(fs::read(&readme).expect("a file"), theirs);
        assert!(read(folder.path(), "README.generated.md").contains("| `seed` | 3 |"));
        fs::remove_file(&beside).expect("ours");
    }
}

#[test]
fn what_is_filled_into_a_program_is_not_looked_at_again() {
    let usage = usage::Usage {
        control: true,
        pipeline: "path/to/model".into(),
        model: "128".into(),
        control_image: Some("a prompt".into()),
        prompt: Some("3.5 seed(0)".into()),
        resolution: 512,
        guidance_scale: 4.0,
        max_sequence_length: 64,
        seed: 9,
        dtype: cogview4_model::ComputeDtype::BFloat16,
    };
    let rust = usage.rust();
    for line in [
        "from_pretrained(\"path/to/model\").transformer(\"128\")",
        "load_image(\"a prompt\")",
        "ControlRequest::new(\"3.5 seed(0)\", control_image)",
        ".height(512)",
        ".width(512)",
        ".guidance_scale(4.0)",
        ".max_sequence_length(64)",
        ".seed(9)",
    ] {
        assert!(rust.contains(line), "{line} is not in\n{rust}");
    }
    let python = usage.python();
    for line in ["height=512,", "width=512,", "guidance_scale=4.0,", "manual_seed(9)", "dtype = torch.bfloat16"] {
        assert!(python.contains(line), "{line} is not in\n{python}");
    }
}

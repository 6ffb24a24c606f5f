//! Validation: what it finds, what it draws, and that it changes nothing.

use std::fs;

use cogview4_control_pipeline::{CogView4ControlPipeline, ControlRequest, load_image};
use cogview4_data::{Columns, Dataset, Row, open_dataset};
use cogview4_trainer::{TrainConfig, Trainer, Validation};

use crate::support::{Workplace, assets, fixtures};

const PAIRS: &[&str] = &[
    "--validation_prompt",
    "a square",
    "number 3",
    "--validation_image",
    "1-edges.png",
    "2-edges.png",
    "--num_validation_images",
    "2",
    "--validation_steps",
    "3",
];

#[test]
fn training_is_the_same_with_and_without_it() {
    let workplace = Workplace::new();
    let common = ["--max_train_steps", "7", "--checkpointing_steps", "4", "--weighting_scheme", "mode"];
    workplace.succeeds(&[&common[..], &["--output_dir", "with", "--log_dataset_samples"], PAIRS].concat());
    let without = ["--output_dir", "without", "--validation_steps", "1000", "--report_to", "none"];
    workplace.succeeds(&[&common[..], &without].concat());
    for file in [
        "diffusion_pytorch_model.safetensors",
        "checkpoint-4/optimizer.safetensors",
        "checkpoint-4/state.json",
        "checkpoint-4/transformer/diffusion_pytorch_model.safetensors",
    ] {
        let [with, without] = ["with", "without"].map(|folder| workplace.bytes(&format!("{folder}/{file}")));
        assert!(with == without, "{file}");
    }
    assert_eq!(workplace.metrics("with"), workplace.metrics("without"));
    assert!(workplace.path("with/logs/cogview4_train_control").is_dir() && !workplace.path("without/logs").exists());
    let steps = |folder: &str| {
        let lines = workplace.json_lines(&format!("{folder}/validation.jsonl"));
        lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((steps("with"), steps("without")), (vec![0, 3, 6, 7], vec![0, 7]));
}

#[test]
fn its_pictures_are_those_of_the_pipeline() {
    let workplace = Workplace::new();
    workplace.succeeds(&[PAIRS, &["--max_train_steps", "3"]].concat());
    let lines = workplace.json_lines("out/validation.jsonl");
    assert!(lines[0]["images"].as_array().unwrap().is_empty(), "nothing is drawn before the first step");
    let images = lines[1]["images"].as_array().unwrap();
    assert_eq!(images.len(), 4);
    let pipe = CogView4ControlPipeline::from_pretrained(fixtures().join("plain"))
        .transformer(workplace.path("out"))
        .progress_bar(false)
        .load()
        .unwrap();
    for (image, (pair, seed)) in images.iter().zip([(1, 7), (1, 8), (2, 7), (2, 8)]) {
        assert_eq!(image["file"], format!("validation/step-3-{pair}-{}.png", seed - 6));
        let open = |name: &str| load_image(workplace.path(name).to_str().unwrap()).unwrap();
        let request = ControlRequest::new(image["prompt"].as_str().unwrap(), open(&format!("{pair}-edges.png")));
        let request = request.height(32).width(32).guidance_scale(3.5).seed(seed).max_sequence_length(128);
        let expected = &pipe.generate(&request).unwrap().images[0];
        assert!(open(&format!("out/{}", image["file"].as_str().unwrap())) == *expected, "{image}");
    }
}

#[test]
fn a_run_that_goes_on_has_every_validation_once() {
    let workplace = Workplace::new();
    let flags = [PAIRS, &["--max_train_steps", "6", "--checkpointing_steps", "2"]].concat();
    workplace.succeeds(&[&flags[..], &["--output_dir", "whole"]].concat());
    let half = [PAIRS, &["--max_train_steps", "3", "--checkpointing_steps", "2", "--output_dir", "parts"]].concat();
    workplace.succeeds(&half);
    workplace.succeeds(&[&flags[..], &["--output_dir", "parts", "--resume_from_checkpoint", "latest"]].concat());
    let lines = |folder: &str| {
        let mut lines = workplace.json_lines(&format!("{folder}/validation.jsonl"));
        lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("seconds")));
        lines
    };
    assert_eq!(lines("whole"), lines("parts"));
    for picture in ["step-3-2-1.png", "step-6-1-2.png"] {
        let bytes = |folder: &str| workplace.bytes(&format!("{folder}/validation/{picture}"));
        assert!(bytes("whole") == bytes("parts"), "{picture}");
    }
}

#[test]
fn a_held_out_split_is_measured_and_never_trained_on() {
    let workplace = Workplace::new();
    let lines = fs::read_to_string(workplace.path("train.jsonl")).unwrap();
    let rename = |line: &str| line.replace("\"image\"", "\"file_name\"");
    let lines: Vec<String> =
        lines.lines().map(|line| rename(line).replace("conditioning_image", "conditioning_image_file_name")).collect();
    for (split, rows) in [("train", 0..8), ("validation", 8..11), ("test", 0..2)] {
        fs::create_dir_all(workplace.path("set").join(split)).unwrap();
        fs::write(workplace.path("set").join(split).join("metadata.jsonl"), lines[rows].join("\n")).unwrap();
        for row in 0..11 {
            for name in [format!("{row}.png"), format!("{row}-edges.png")] {
                fs::copy(workplace.path(&name), workplace.path("set").join(split).join(&name)).unwrap();
            }
        }
    }
    let probe = |output: &str| workplace.json_lines(&format!("{output}/validation.jsonl"))[0]["probe"].clone();
    workplace.succeeds(&["--dataset_name", "set", "--output_dir", "first"]);
    assert_eq!(probe("first"), "3 held-out split");
    fs::remove_dir_all(workplace.path("set/validation")).unwrap();
    workplace.succeeds(&["--dataset_name", "set", "--output_dir", "second"]);
    assert_eq!(probe("second"), "2 held-out split");
    fs::write(workplace.path("set/test/0.png"), "broken").unwrap();
    workplace.succeeds(&["--dataset_name", "set", "--output_dir", "third"]);
    let third = probe("third");
    let reason = third.as_str().unwrap().strip_prefix("8 training rows: the held-out split cannot be read");
    assert!(reason.unwrap().contains("set/test/metadata.jsonl, row 1"), "{third}");
    assert_eq!(workplace.metrics("first"), workplace.metrics("second"));
    assert_eq!(workplace.metrics("first"), workplace.metrics("third"));
}

/// The figures with each control image given to another row.
struct Shuffled(Box<dyn Dataset>);

impl Dataset for Shuffled {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize) -> cogview4_data::Result<Row> {
        let other = self.0.row((index + 57) % self.len())?;
        Ok(Row { conditioning_image: other.conditioning_image, ..self.0.row(index)? })
    }
}

#[test]
fn control_gain_shows_whether_control_is_learned() {
    let workplace = Workplace::new();
    let base = workplace.base_pipeline(&fixtures().join("untrained"));
    let figures = || open_dataset(&assets().join("figures.parquet"), &Columns::default()).unwrap();
    let gains = |data: Box<dyn Dataset>, output: &str| {
        let mut config = TrainConfig::new(&base, workplace.path(output));
        config.seed = Some(0);
        config.max_train_steps = Some(160);
        config.recipe.resolution = 64;
        config.recipe.train_batch_size = 8;
        config.recipe.schedule.learning_rate = 4e-3;
        config.recipe.density.scheme = cogview4_trainer::WeightingScheme::LogitNormal;
        config.recipe.density.logit_mean = -1.0;
        Trainer::new(config, data).unwrap().run(&mut ()).unwrap();
        let line = |line: serde_json::Value| serde_json::from_value::<Validation>(line).unwrap();
        let lines = workplace.json_lines(&format!("{output}/validation.jsonl")).into_iter().map(line);
        lines.map(|validation| (validation.step, validation.control_gain.unwrap())).collect::<Vec<_>>()
    };
    let learned = gains(figures(), "learned");
    assert_eq!(learned[0], (0, 0.0), "a widened base model does not look at the control image");
    assert!(learned.last().unwrap().0 == 160 && learned.last().unwrap().1 >= 0.03, "{learned:?}");
    let shuffled = gains(Box::new(Shuffled(figures())), "shuffled");
    assert!(shuffled.iter().all(|(_, gain)| *gain < 0.01), "{shuffled:?}");
}

#[test]
fn edges_are_measured_only_where_controls_are_edges_of_their_pictures() {
    let workplace = Workplace::new();
    let common = ["--resolution", "64", "--max_train_steps", "1"];
    let last = |output: &str| workplace.json_lines(&format!("{output}/validation.jsonl")).pop().unwrap();
    let page = |output: &str| fs::read_to_string(workplace.path(output).join("report.html")).unwrap();

    workplace.succeeds(&[PAIRS, &common, &["--output_dir", "outlines"]].concat());
    let line = last("outlines");
    let controls = line["controls"].as_str().unwrap();
    assert!(controls.starts_with("the controls are edges of their pictures: F1 0."), "{controls}");
    for found in [&line, &line["images"][0]] {
        for key in ["edge_precision", "edge_recall", "edge_f1", "edge_f1_shuffled"] {
            assert!((0.0..=1.0).contains(&found[key].as_f64().unwrap()), "{key}: {found}");
        }
        let [precision, recall, f1] =
            ["edge_precision", "edge_recall", "edge_f1"].map(|key| found[key].as_f64().unwrap());
        assert!(precision.min(recall) <= f1 && f1 <= precision.max(recall) && found.get("blur_ssim").is_none());
    }
    assert!(page("outlines").contains("Edges of the control found") && page("outlines").contains("precision 0."));

    let figures = assets().join("figures.parquet");
    let flags = ["--output_dir", "skeletons", "--dataset_name", figures.to_str().unwrap()];
    workplace.succeeds(&[PAIRS, &common, &flags].concat());
    let line = last("skeletons");
    let reason = "not measured, as the controls are not edges of their pictures";
    assert!(line["controls"].as_str().unwrap().starts_with(reason), "{line}");
    assert!(line.get("edge_f1").is_none() && line["images"][0].get("edge_f1").is_none());
    assert!(page("skeletons").contains(reason) && !page("skeletons").contains("Edges of the control found"));
}

//! That training learns, and that it begins where the base model is.

use std::{fs, path::Path};

use burn::tensor::DType;
use cogview4_data::{Columns, open_dataset};
use cogview4_model::weights::WeightFiles;
use cogview4_trainer::{Resume, TrainConfig, Trainer};

use crate::support::{Workplace, assets, fixtures};

fn open(folder: &Path) -> WeightFiles {
    WeightFiles::open(folder, "diffusion_pytorch_model").unwrap()
}

/// Norm of the columns that take the latents, and of those that take the control latents.
fn projection_norms(folder: &Path) -> [f32; 2] {
    let data = open(folder).read("patch_embed.proj.weight", DType::F32).unwrap();
    let columns = data.shape()[1];
    let values: Vec<f32> = data.try_to_vec().unwrap();
    let norm = |begin: usize| {
        let part = values.chunks(columns).flat_map(|row| &row[begin..begin + columns / 2]);
        part.map(|value| value * value).sum::<f32>().sqrt()
    };
    [norm(0), norm(columns / 2)]
}

fn losses(workplace: &Workplace, output_dir: &str) -> Vec<f64> {
    let lines = workplace.json_lines(&format!("{output_dir}/metrics.jsonl"));
    lines.iter().map(|line| line["loss"].as_f64().unwrap()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_base_model_is_widened_and_its_control_columns_move() {
    let workplace = Workplace::new();
    let control = fixtures().join("plain");
    let base = format!("{}/transformer", workplace.base_pipeline(&control));
    let control = control.to_str().unwrap();
    let flags = |output, rate| {
        let model = ["--pretrained_model_name_or_path", control, "--transformer", &base];
        [&model[..], &["--output_dir", output, "--learning_rate", rate]].concat()
    };
    workplace.succeeds(&flags("still", "0"));
    let [_, control] = projection_norms(&workplace.path("still"));
    assert_eq!(control, 0.0, "before the first step the control latents have no effect");
    workplace.succeeds(&flags("moved", "1e-3"));
    let [_, control] = projection_norms(&workplace.path("moved"));
    assert!(control > 1e-2, "{control}");
    let config = fs::read_to_string(workplace.path("moved/config.json")).unwrap();
    assert!(config.contains("\"in_channels\": 32") && config.contains("\"out_channels\": 16"));
    assert!(config.contains("CogView4Transformer2DModel"));
}

#[test]
fn the_loss_falls_by_a_quarter_on_the_figures() {
    let workplace = Workplace::new();
    let (untrained, figures) = (fixtures().join("untrained"), assets().join("figures.parquet"));
    let flags = [
        ["--pretrained_model_name_or_path", untrained.to_str().unwrap()],
        ["--dataset_name", figures.to_str().unwrap()],
        ["--resolution", "64"],
        ["--train_batch_size", "8"],
        ["--max_train_steps", "160"],
        ["--learning_rate", "2e-3"],
    ];
    workplace.succeeds(&flags.concat());
    let losses = losses(&workplace, "out");
    let (first, last) = (mean(&losses[..20]), mean(&losses[140..]));
    assert!(last < 0.75 * first, "{first} to {last}");
    let [before, after] =
        [untrained.join("transformer"), workplace.path("out")].map(|folder| projection_norms(&folder)[1]);
    assert!((after - before).abs() > 1e-2, "the control columns move");
}

#[test]
fn a_base_model_learns_pictures_from_captions() {
    let workplace = Workplace::new();
    let base = workplace.base_pipeline(&fixtures().join("untrained"));
    let config = |steps| {
        let mut config = TrainConfig::new(&base, workplace.path("base-run"));
        config.seed = Some(0);
        config.max_train_steps = Some(steps);
        config.checkpointing_steps = 20;
        config.recipe.control = false;
        config.recipe.resolution = 64;
        config.recipe.train_batch_size = 8;
        config.recipe.schedule.learning_rate = 4e-3;
        config
    };
    let run = |config| {
        let figures = open_dataset(&assets().join("figures.parquet"), &Columns::default()).unwrap();
        Trainer::new(config, figures).unwrap().run(&mut ()).unwrap()
    };
    run(config(20));
    let outcome = run(TrainConfig { resume: Some(Resume::Latest), ..config(60) });
    let channels = outcome.transformer.config();
    assert_eq!((outcome.steps, channels.in_channels), (60, channels.out_channels));
    let losses = losses(&workplace, "base-run");
    assert!(mean(&losses[50..]) < 0.9 * mean(&losses[..10]), "{losses:?}");
    assert!(workplace.json_lines("base-run/validation.jsonl").is_empty(), "there is no control to measure");

    let mut control = config(1);
    control.pretrained_model = fixtures().join("untrained").into();
    let data = open_dataset(&assets().join("figures.parquet"), &Columns::default()).unwrap();
    let error = Trainer::new(control, data).map(drop).unwrap_err().to_string();
    assert!(error.contains("`in_channels` is 32"), "a control model is no base model: {error}");
}

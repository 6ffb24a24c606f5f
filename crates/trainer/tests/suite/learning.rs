//! That training learns, and that it begins where the base model is.

use std::{fs, path::Path};

use burn::tensor::DType;
use cogview4_model::weights::WeightFiles;

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

#[test]
fn a_base_model_is_widened_and_its_control_columns_move() {
    let workplace = Workplace::new();
    let base = workplace.base_pipeline(&fixtures().join("plain"));
    let flags =
        |output, rate| ["--pretrained_model_name_or_path", &base, "--output_dir", output, "--learning_rate", rate];
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
    let (demo, figures) = (assets().join("demo"), assets().join("figures.parquet"));
    let flags = [
        ["--pretrained_model_name_or_path", demo.to_str().unwrap()],
        ["--dataset_name", figures.to_str().unwrap()],
        ["--resolution", "64"],
        ["--train_batch_size", "8"],
        ["--max_train_steps", "160"],
        ["--learning_rate", "2e-3"],
    ];
    workplace.succeeds(&flags.concat());
    let loss = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
    let losses: Vec<f64> = workplace.metrics("out").iter().map(loss).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..20]), mean(&losses[140..]));
    assert!(last < 0.75 * first, "{first} to {last}");
    let [before, after] = [demo.join("transformer"), workplace.path("out")].map(|folder| projection_norms(&folder)[1]);
    assert!((after - before).abs() > 1e-2, "the control columns move");
}

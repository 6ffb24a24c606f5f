//! Training on a backend: as on the pure-Rust CPU, and exact when it goes on.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Tensor};
use cogview4::{
    data::{Columns, open_dataset},
    model::{DeviceSpec, weights::WeightFiles},
    trainer::{Offload, Resume, TrainConfig, Trainer},
};

use crate::backend::Backend;

/// Bound on the relative difference of each weight after eight steps.
const TOLERANCE: f64 = 2e-5;

/// A folder of the repository.
fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn config(spec: DeviceSpec, output_dir: &Path) -> TrainConfig {
    let mut config = TrainConfig::new(at("tests/fixtures/untrained"), output_dir);
    config.device = spec;
    config.seed = Some(3);
    config.max_train_steps = Some(8);
    config.validation.steps = 1000;
    config.report_to.clear();
    config.progress_bar = false;
    config.recipe.resolution = 64;
    config.recipe.train_batch_size = 2;
    config.recipe.schedule.learning_rate = 1e-4;
    config
}

fn train(mut config: TrainConfig) {
    let figures = at("assets/figures.parquet");
    config.checkpointing_steps = 4;
    let data = cogview4::data::first_rows(open_dataset(&figures, &Columns::default()).unwrap(), 12);
    Trainer::new(config, data).unwrap().run(&mut ()).unwrap();
}

fn weights(folder: &Path) -> WeightFiles {
    WeightFiles::open(folder, "diffusion_pytorch_model").unwrap()
}

pub(crate) fn weights_after_eight_steps(backend: &Backend) {
    let folder = tempfile::tempdir().unwrap();
    let [expected, kept, again] = ["flex", "kept", "again"].map(|name| folder.path().join(name));
    train(config(DeviceSpec::Flex, &expected));
    train(config(backend.spec, &kept));
    train(TrainConfig { gradient_checkpointing: true, ..config(backend.spec, &again) });
    let expected = weights(&expected);
    for found in [weights(&kept), weights(&again)] {
        for key in expected.keys() {
            let tensor = |files: &WeightFiles| {
                let values: Vec<f32> = files.read(key, DType::F32).unwrap().try_into_vec().unwrap();
                Tensor::<1>::from_data(values.as_slice(), &backend.device)
            };
            backend.assert_close(key, tensor(&found), tensor(&expected), TOLERANCE);
        }
    }
    if backend.spec == DeviceSpec::Flex {
        let read = |folder: &Path| std::fs::read(folder.join("diffusion_pytorch_model.safetensors")).unwrap();
        assert!(read(&kept) == read(&again), "computing blocks again changes no bit");
    }
}

pub(crate) fn a_run_that_goes_on(backend: &Backend) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    train(config(backend.spec, &whole));
    let mut first = config(backend.spec, &parts);
    first.max_train_steps = Some(5);
    train(first);
    let mut second = config(backend.spec, &parts);
    second.resume = Some(Resume::Latest);
    train(second);
    for file in ["diffusion_pytorch_model.safetensors", "checkpoint-8/optimizer.safetensors", "checkpoint-8/state.json"]
    {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(&whole) == read(&parts), "{}: {file}", backend.spec);
    }
}

pub(crate) fn what_is_on_the_disk(backend: &Backend) {
    let folder = tempfile::tempdir().unwrap();
    let (memory, disk) = (folder.path().join("memory"), folder.path().join("disk"));
    let config = |output: &Path| {
        let mut config = TrainConfig { gradient_checkpointing: true, ..config(backend.spec, output) };
        config.recipe.gradient_accumulation_steps = 2;
        config.max_train_steps = Some(4);
        config
    };
    train(config(&memory));
    let weights = if backend.spec.is_cpu() { Offload::Disk } else { Offload::None };
    train(TrainConfig {
        optimizer_offload: Offload::Disk,
        gradient_offload: Offload::Disk,
        param_offload: weights,
        ..config(&disk)
    });
    for file in ["diffusion_pytorch_model.safetensors", "checkpoint-4/optimizer.safetensors"] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(&memory) == read(&disk), "{}: {file}", backend.spec);
    }
}

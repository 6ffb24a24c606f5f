//! Several processes follow the path of one: here as threads, which is another engine and nothing else.

use std::{fs, thread};

use cogview4_data::{Columns, open_jsonl};
use cogview4_model::ComputeDtype;
use cogview4_trainer::{Group, Resume, StopFlag, TrainConfig, TrainError, Trainer, ZeroStage};

use crate::support::{Workplace, fixtures};

/// A run of so many samples a step, in micro-batches of so many.
fn config(workplace: &Workplace, output_dir: &str, (batch, micros): (usize, usize)) -> TrainConfig {
    let mut config = TrainConfig::new(fixtures().join("plain"), workplace.path(output_dir));
    config.max_train_steps = Some(4);
    config.seed = Some(7);
    config.progress_bar = false;
    config.gradient_checkpointing = true;
    config.validation.steps = 1000;
    config.recipe.resolution = 32;
    config.recipe.train_batch_size = batch;
    config.recipe.gradient_accumulation_steps = micros;
    config.recipe.schedule.learning_rate = 1e-3;
    config.recipe.proportion_empty_prompts = 0.3;
    config
}

/// Trains as so many threads; what each of them comes to.
fn train(workplace: &Workplace, config: &TrainConfig, size: usize) -> Vec<Result<usize, TrainError>> {
    let groups = if size == 1 { vec![Group::alone()] } else { Group::threads(size).unwrap() };
    let run = |group| {
        let data = open_jsonl(&workplace.path("train.jsonl"), &Columns::default())?;
        let trainer = Trainer::in_group(config.clone(), data, StopFlag::default(), group)?;
        Ok(trainer.run(&mut ())?.steps)
    };
    thread::scope(|scope| {
        let runs: Vec<_> = groups.into_iter().map(|group| scope.spawn(move || run(group))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

#[track_caller]
fn trains(workplace: &Workplace, config: &TrainConfig, size: usize) {
    for result in train(workplace, config, size) {
        result.unwrap();
    }
}

/// The file of a run's result.
fn weights(folder: &str) -> String {
    format!("{folder}/diffusion_pytorch_model.safetensors")
}

#[test]
fn processes_follow_the_path_of_one() {
    let workplace = Workplace::new();
    trains(&workplace, &config(&workplace, "one", (4, 1)), 1);
    // 11 rows: of the last step of an epoch some processes have fewer samples, or none.
    for (name, size, division, stage) in [
        ("two", 2, (2, 1), ZeroStage::Two),
        ("four", 4, (1, 1), ZeroStage::Two),
        ("two-micros", 2, (1, 2), ZeroStage::Two),
        ("two-micros-once", 2, (1, 2), ZeroStage::One),
    ] {
        let config = TrainConfig { zero_stage: stage, ..config(&workplace, name, division) };
        trains(&workplace, &config, size);
        let distance = workplace.distance(&weights(name), &weights("one"));
        assert!(distance < 1e-5, "{name}: {distance:.1e}");
        let losses = |folder: &str| -> Vec<f64> {
            let lines = workplace.json_lines(&format!("{folder}/metrics.jsonl"));
            lines.iter().map(|line| line["loss"].as_f64().unwrap()).collect()
        };
        for (one, many) in losses("one").into_iter().zip(losses(name)) {
            assert!((one - many).abs() < 1e-5 * one, "{name}: {many}, alone {one}");
        }
        assert_eq!(workplace.json_lines(&format!("{name}/metrics.jsonl"))[3]["processes"], size);
    }
}

/// In every way that state can be kept, and without recomputation.
#[test]
fn ways_to_keep_state_are_divided_too() {
    let workplace = Workplace::new();
    type Change = fn(&mut TrainConfig);
    let ways: [(&str, Change); 5] = [
        ("8-bit", |config| config.recipe.use_8bit_adam = true),
        ("bf16", |config| config.recipe.compute_dtype = ComputeDtype::BFloat16),
        ("rounded", |config| {
            config.recipe.compute_dtype = ComputeDtype::BFloat16;
            config.recipe.stochastic_rounding = true;
        }),
        ("disk", |config| {
            config.optimizer_offload = "disk".parse().unwrap();
            config.gradient_offload = "disk".parse().unwrap();
            config.param_offload = "disk".parse().unwrap();
        }),
        ("blocks-and-no-recompute", |config| {
            config.recipe.only_target_transformer_blocks = true;
            config.gradient_checkpointing = false;
        }),
    ];
    for (name, change) in ways {
        let run = |size: usize, division| {
            let folder = format!("{name}-{size}");
            let mut config = config(&workplace, &folder, division);
            change(&mut config);
            config.save_dtype = config.recipe.compute_dtype;
            config.max_train_steps = Some(2);
            trains(&workplace, &config, size);
            weights(&folder)
        };
        let distance = workplace.distance(&run(2, (2, 1)), &run(1, (4, 1)));
        // Rounding to 8 bits of mantissa, and to 8 bits of moments, makes much of a difference in the last digit.
        let allowed = if name == "disk" || name.starts_with("blocks") { 1e-5 } else { 5e-3 };
        assert!(distance < allowed, "{name}: {distance:.1e}");
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    let workplace = Workplace::new();
    let with_checkpoint = |folder: &str, division| {
        let mut config = config(&workplace, folder, division);
        config.checkpointing_steps = 2;
        config
    };
    trains(&workplace, &with_checkpoint("two", (2, 1)), 2);
    trains(&workplace, &with_checkpoint("one", (4, 1)), 1);
    // The same files, whoever wrote them.
    for file in ["transformer/config.json", "transformer/diffusion_pytorch_model.safetensors", "optimizer.safetensors"]
    {
        let length = |folder: &str| fs::metadata(workplace.path(folder).join("checkpoint-2").join(file)).unwrap().len();
        assert_eq!(length("one"), length("two"), "{file}");
    }
    let result = |folder: &str| workplace.bytes(&weights(folder));
    let resume = |folder: &str, division, size| {
        let mut config = with_checkpoint(folder, division);
        config.resume = Some(Resume::Checkpoint(workplace.path("two/checkpoint-2")));
        trains(&workplace, &config, size);
    };
    resume("two-again", (2, 1), 2);
    assert!(result("two-again") == result("two"), "as many go on to the same bytes");
    for (folder, division, size) in [("to-one", (4, 1), 1), ("to-four", (1, 1), 4)] {
        resume(folder, division, size);
        let distance = workplace.distance(&weights(folder), &weights("two"));
        assert!(distance < 1e-5, "{folder}: {distance:.1e}");
    }
    // Fewer processes with the same micro-batches would be another run.
    let mut config = with_checkpoint("fewer", (2, 1));
    config.resume = Some(Resume::Checkpoint(workplace.path("two/checkpoint-2")));
    let error = train(&workplace, &config, 1).pop().unwrap().unwrap_err().to_string();
    assert!(error.contains("a step had 4 samples, of 1 processes it has 2"), "{error}");
}

#[test]
fn what_one_cannot_do_ends_all_with_its_name() {
    let workplace = Workplace::new();
    let mut config = config(&workplace, "out", (2, 1));
    config.recipe.optimizer_in_backward = true;
    for error in train(&workplace, &config, 2).into_iter().map(Result::unwrap_err) {
        assert!(error.to_string().starts_with("optimizer_in_backward: "), "{error}");
    }
    // The first finds that there is no room for the output; the other is told.
    config.recipe.optimizer_in_backward = false;
    fs::write(workplace.path("file"), "").unwrap();
    config.output_dir = workplace.path("file");
    let errors: Vec<String> =
        train(&workplace, &config, 2).into_iter().map(|result| result.unwrap_err().to_string()).collect();
    assert!(errors[0].starts_with("output_dir: "), "{}", errors[0]);
    assert!(errors[1].starts_with("rank 0 on "), "{}", errors[1]);
    assert!(errors[1].contains(&errors[0]), "{}", errors[1]);
}

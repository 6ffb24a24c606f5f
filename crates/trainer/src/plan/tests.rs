//! Plans of a machine that is made up.

use cogview4_control_pipeline::{InputChannels, PipelineFolder, plan::Rates};

use super::*;
use crate::{config::Offload, tests::fixtures};

/// Four blocks of half the released width.
fn planner(available: u64) -> TrainPlanner {
    let folder = PipelineFolder::new(fixtures().join("plain"));
    let mut configs = folder.read_configs(InputChannels::BaseOrControl).expect("a pipeline");
    configs.transformer = CogView4TransformerConfig {
        num_layers: 4,
        num_attention_heads: 16,
        attention_head_dim: 128,
        in_channels: 32,
        ..Default::default()
    };
    let rates = Rates { products: 1e11, convolutions: 1e11 };
    let machine = Machine {
        available_bytes: Some(available),
        held_bytes: 0,
        threads: 2,
        rates: vec![(ComputeDtype::Float32, rates), (ComputeDtype::BFloat16, rates)],
        read_rate: None,
    };
    TrainPlanner::new(configs, PipelineWeights::default(), 1, 0..1, machine)
}

fn config(folder: &tempfile::TempDir) -> TrainConfig {
    let mut config = TrainConfig::new("model", folder.path());
    config.recipe.resolution = 64;
    config.recipe.max_sequence_length = 16;
    config.recipe.train_batch_size = 1;
    config
}

#[test]
fn processes_divide_state_and_gradients() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(&folder);
    config.gradient_checkpointing = true;
    let parts = |size: usize| {
        let plan = planner(1 << 40).one_of(Processes { size, local: size }).plan(&config).expect("a plan");
        let train = plan.stages.iter().find(|stage| stage.name == "train").expect("a stage").clone();
        let part = |name: &str| train.parts.iter().find(|part| part.name == name).map_or(0, |part| part.bytes);
        (part("optimizer"), part("gradients"), plan.limit.expect("a limit"))
    };
    let [one, four] = [1, 4].map(parts);
    assert_eq!((one.0.div_ceil(4), one.1.div_ceil(4), one.2 / 4), four);
}

#[test]
fn what_is_limited_goes_to_the_disk_step_by_step() {
    let (folder, planner) = (tempfile::tempdir().expect("a folder"), planner(1 << 40));
    let mut config = TrainConfig { gradient_checkpointing: true, ..config(&folder) };
    let places = |config: &TrainConfig| {
        let config = planner.plan(config).expect("a plan").config;
        [config.optimizer_offload, config.gradient_offload, config.param_offload].map(|place| place == Offload::Disk)
    };
    assert_eq!(places(&config), [false; 3]);
    let mut found = Vec::new();
    for bytes in (1..500).rev().map(|part| part * 10_000_000) {
        config.max_memory = Some(bytes);
        found.push(places(&config));
        let plan = planner.plan(&config).expect("a plan");
        assert_eq!(plan.fits(), plan.peak_host_bytes() <= bytes);
    }
    found.dedup();
    let expected = [[false, false, false], [true, false, false], [true, true, false], [true, true, true]];
    assert_eq!(found, expected);
}

#[test]
fn numbers_change_only_where_nothing_else_helps() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(&folder);
    let flags = |available: u64| {
        let cheapest = planner(available).cheapest(&config).expect("plans");
        cheapest.map(|plan| {
            assert!(plan.fits() && plan.needed_bytes() <= available);
            plan.flags(&config).join(" ")
        })
    };
    assert_eq!(flags(20_000_000_000).as_deref(), Some(""));
    let all: Vec<Option<String>> = (1..250).rev().map(|part| flags(part * 20_000_000)).collect();
    let first = |flag: &str| all.iter().position(|flags| flags.as_ref().is_some_and(|flags| flags.contains(flag)));
    let order = ["--max_memory", "--mixed_precision bf16"].map(first);
    assert!(order.is_sorted() && order.iter().all(Option::is_some), "{order:?}");
    assert!(all.last().expect("plans").is_none(), "nothing fits into 20 MB");
    // A run that goes on keeps its numbers.
    let resumed = TrainConfig { resume: Some(crate::config::Resume::Latest), ..config.clone() };
    for part in 1..250 {
        let plan = planner(part * 20_000_000).cheapest(&resumed).expect("plans");
        assert!(plan.is_none_or(|plan| plan.config.recipe == config.recipe));
    }
}

#[test]
fn a_refusal_names_numbers_and_flags() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(&folder);
    let error = planner(2_500_000_000).check(&config).expect_err("too little").to_string();
    assert!(error.starts_with("pretrained_model_name_or_path: ") && error.contains("2.50 GB are to be had"), "{error}");
    assert!(error.contains("what fits, beside your flags, is `--"), "{error}");
    let limited = TrainConfig { max_memory: Some(1_000_000), ..config };
    let error = planner(1 << 40).check(&limited).expect_err("too little").to_string();
    assert!(error.starts_with("max_memory: ") && error.contains("nothing fits, the least is `"), "{error}");
}

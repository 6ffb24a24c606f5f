//! Every key of the reference's file, and files that cannot be used.

use super::*;

/// The reference's, but for one process, and other numbers of accumulation and clipping than the defaults.
const FILE: &str = include_str!("../../../../../tests/fixtures/training/accelerate.yaml");

#[test]
fn every_key_of_the_reference_is_used_or_named() {
    let config = AccelerateConfig::parse(FILE).expect("a configuration");
    assert_eq!(config.mixed_precision.as_deref(), Some("bf16"));
    assert_eq!((config.gradient_accumulation_steps, config.gradient_clipping), (Some(4), Some(0.5)));
    assert_eq!(config.optimizer_offload, Some(Offload::Cpu));
    assert_eq!(config.zero_stage, Some(ZeroStage::Two));
    let launch = LaunchConfig { num_machines: Some(1), machine_rank: Some(0), ..LaunchConfig::default() };
    assert_eq!(config.launch, LaunchConfig { num_processes: Some(1), ..launch });
    let idle = ["offload_param_device", "gpu_ids", "main_training_function", "rdzv_backend", "same_network"];
    assert!(idle.iter().all(|key| config.without_effect.iter().any(|named| named == key)));
    assert_eq!(config.without_effect.len(), idle.len());
}

#[test]
fn other_values_are_taken_too() {
    let parse = |from: &str, to: &str| {
        assert!(FILE.contains(from), "{from}");
        AccelerateConfig::parse(&FILE.replace(from, to)).expect(to)
    };
    let on_disk =
        parse("offload_optimizer_device: cpu", "offload_optimizer_device: nvme\n  offload_optimizer_nvme_path: /fast");
    assert_eq!((on_disk.optimizer_offload, on_disk.nvme_path), (Some(Offload::Disk), Some("/fast".into())));
    assert_eq!(parse("offload_optimizer_device: cpu", "offload_optimizer_device: none").optimizer_offload, None);
    assert_eq!(parse("mixed_precision: bf16", "mixed_precision: 'no'").mixed_precision.as_deref(), Some("no"));
    assert_eq!(
        parse("gradient_accumulation_steps: 4", "gradient_accumulation_steps: auto").gradient_accumulation_steps,
        None
    );
    for (value, stage) in [(0, ZeroStage::One), (1, ZeroStage::One), (2, ZeroStage::Two)] {
        assert_eq!(parse("zero_stage: 2", &format!("zero_stage: {value}")).zero_stage, Some(stage));
    }
    assert_eq!(parse("num_processes: 1", "num_processes: 8").launch.num_processes, Some(8));
    assert_eq!(AccelerateConfig::parse("debug: false\n"), Ok(AccelerateConfig::default()));
}

#[test]
fn what_cannot_be_used_is_refused_by_its_key() {
    for (from, to, culprit) in [
        ("zero_stage: 2", "zero_stage: 3", "zero_stage: 3 is not supported"),
        ("zero_stage: 2", "zero_stage: 7", "zero_stage: 7 is not a stage"),
        ("zero_stage: 2", "zero_stage: two", "zero_stage: \"two\" is not a stage"),
        ("mixed_precision: bf16", "mixed_precision: fp16", "mixed_precision: `fp16` is not supported"),
        ("mixed_precision: bf16", "mixed_precision: bf61", "mixed_precision: `bf61` is unknown"),
        ("num_processes: 1 # a comment\n", "", "num_processes: is missing"),
        ("num_machines: 1", "num_machines: 2", "num_processes: 1 are not as many on each of 2 machines"),
        ("machine_rank: 0", "machine_rank: first", "machine_rank: \"first\" is not a whole number"),
        ("num_processes: 1", "num_processes: one", "num_processes: \"one\" is not a whole number"),
        ("num_machines: 1", "num_machines: 0", "num_machines: 0 is not a whole number"),
        ("distributed_type: DEEPSPEED", "distributed_type: FSDP", "distributed_type: `FSDP` is not supported"),
        ("distributed_type: DEEPSPEED", "distributed_type: TPU", "distributed_type: `TPU` is unknown"),
        ("tpu_use_cluster: false", "tpu_use_cluster: true", "tpu_use_cluster: true is not supported"),
        ("downcast_bf16: 'no'", "downcast_bf16: 'yes'", "downcast_bf16: \"yes\" is not supported"),
        ("gradient_clipping: 0.5", "gradient_clipping: -1", "gradient_clipping: -1 is not a number above 0"),
        ("  zero_stage: 2", " zero_stage: 2", "line "),
        ("debug: false", "debgu: false", "debgu: is not a key"),
        ("compute_environment: LOCAL_MACHINE", "compute_environment: AMAZON_SAGEMAKER", "compute_environment: `AM"),
        ("zero_stage: 2", "deepspeed_config_file: ds.json", "deepspeed_config_file: another file is not read"),
        (
            "offload_optimizer_device: cpu",
            "offload_optimizer_device: gpu",
            "offload_optimizer_device: `gpu` is unknown",
        ),
    ] {
        assert!(FILE.contains(from), "{from}");
        let error = AccelerateConfig::parse(&FILE.replace(from, to)).expect_err(to);
        assert!(error.contains(culprit) && error.lines().count() == 1, "{error}");
    }
    let error = AccelerateConfig::parse("- a\n- b\n").expect_err("a list");
    assert!(error.contains("not a mapping"), "{error}");
    let error = AccelerateConfig::parse("distributed_type: DEEPSPEED\n").expect_err("nothing of it");
    assert!(error.contains("needs a `deepspeed_config`"), "{error}");
}

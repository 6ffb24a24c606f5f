//! Flags that are refused, and flags that change what is trained.

use clap::CommandFactory;
use cogview4_model::weights::WeightFiles;
use cogview4_trainer::TrainConfig;

use crate::support::{Workplace, fixtures};

#[test]
fn what_is_out_of_range_or_not_there_is_refused_by_name() {
    let workplace = Workplace::new();
    for (flags, culprit) in [
        (&["--resolution", "40"][..], "--resolution"),
        (&["--resolution", "0"], "--resolution"),
        (&["--train_batch_size", "0"], "--train_batch_size"),
        (&["--gradient_accumulation_steps", "0"], "--gradient_accumulation_steps"),
        (&["--max_train_steps", "0"], "--max_train_steps"),
        (&["--checkpointing_steps", "0"], "--checkpointing_steps"),
        (&["--proportion_empty_prompts", "1.5"], "--proportion_empty_prompts"),
        (&["--proportion_empty_prompts", "-0.1"], "--proportion_empty_prompts"),
        (&["--learning_rate", "NaN"], "--learning_rate"),
        (&["--adam_beta1", "1"], "--adam_beta1"),
        (&["--max_sequence_length", "1"], "max_sequence_length"),
        (&["--lr_scheduler", "step"], "--lr_scheduler"),
        (&["--weighting_scheme", "uniform"], "--weighting_scheme"),
        (&["--caption_choice", "last"], "--caption_choice"),
        (&["--mixed_precision", "fp16"], "--mixed_precision"),
        (&["--mixed_precision", "fp8"], "--mixed_precision"),
        (&["--dataset_name", "x", "--jsonl_for_train", "y"], "--jsonl_for_train"),
        (&["--stochastic_rounding"], "--stochastic_rounding"),
        (&["--optimizer_in_backward"], "--optimizer_in_backward"),
        (&["--hub_token", "a b"], "--hub_token"),
        (&["--report_to", "wandb", "--hub_token", "x"], "--hub_token: cannot be given together with --report_to wandb"),
        (&["--report_to", "wandb", "--tracker_project_name", "a/b"], "--tracker_project_name"),
        (&["--wandb_sync"], "--wandb_sync: needs --report_to wandb"),
        (&["--report_to", "comet_ml"], "--report_to"),
        (&["--report_to", "mlflow"], "--report_to"),
        (&["--validation_prompt", "a"], "--validation_prompt"),
        (&["--validation_image", "0.png"], "--validation_image"),
        (&["--validation_prompt", "a", "b", "--validation_image", "0.png", "1.png", "2.png"], "--validation_prompt"),
        (&["--validation_prompt", "a", "--validation_image", "absent.png"], "--validation_image: image absent.png"),
        (&["--validation_prompt", "a", "--validation_image", "train.jsonl"], "--validation_image: image train.jsonl"),
        (&["--validation_steps", "0"], "--validation_steps"),
        (&["--num_validation_images", "0"], "--num_validation_images"),
        (&["--guidance_scale", "inf"], "--guidance_scale"),
        (&["--max_train_samples", "0"], "--max_train_samples"),
        (&["--config_file", "a.yaml"], "--config_file"),
        (&["--allow_tf32", "--device", "libtorch-cuda"], "libtorch-cuda"),
        (&["--peak_tflops", "0"], "--peak_tflops"),
        (&["--logging_dir", "../train.jsonl"], "--logging_dir"),
        (&["--device", "cuda"], "cuda"),
        (&["--rank", "4"], "--rank"),
        (&["--pretrained_model_name_or_path", "absent"], "absent"),
        (&["--dump_step", "absent/step.safetensors"], "absent/step.safetensors"),
        (&["--output_dir", "train.jsonl"], "train.jsonl"),
        (&["--pack_dir", "train.jsonl"], "train.jsonl"),
    ] {
        workplace.refuses(flags, &[culprit]);
        assert!(!workplace.path("out/diffusion_pytorch_model.safetensors").exists());
    }
    let bare = std::process::Command::new(env!("CARGO_BIN_EXE_train_control_cogview4")).output().unwrap();
    assert!(!bare.status.success());
    assert!(String::from_utf8(bare.stderr).unwrap().contains("--pretrained_model_name_or_path"));
}

/// The reference script's flags, then ours. Programs of others use them: none may go, and a new one belongs in this
/// list.
const FLAGS: &[&str] = &[
    "pretrained_model_name_or_path",
    "variant",
    "revision",
    "output_dir",
    "cache_dir",
    "seed",
    "resolution",
    "max_sequence_length",
    "train_batch_size",
    "num_train_epochs",
    "max_train_steps",
    "checkpointing_steps",
    "checkpoints_total_limit",
    "background_saves",
    "resume_from_checkpoint",
    "proportion_empty_prompts",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "learning_rate",
    "scale_lr",
    "lr_scheduler",
    "lr_warmup_steps",
    "lr_num_cycles",
    "lr_power",
    "use_8bit_adam",
    "dataloader_num_workers",
    "adam_beta1",
    "adam_beta2",
    "adam_weight_decay",
    "adam_epsilon",
    "max_grad_norm",
    "push_to_hub",
    "hub_token",
    "hub_model_id",
    "logging_dir",
    "allow_tf32",
    "report_to",
    "mixed_precision",
    "dataset_name",
    "dataset_config_name",
    "image_column",
    "conditioning_image_column",
    "caption_column",
    "log_dataset_samples",
    "max_train_samples",
    "validation_prompt",
    "validation_image",
    "num_validation_images",
    "validation_steps",
    "tracker_project_name",
    "jsonl_for_train",
    "only_target_transformer_blocks",
    "guidance_scale",
    "upcast_before_saving",
    "weighting_scheme",
    "logit_mean",
    "logit_std",
    "mode_scale",
    "offload",
    "weights",
    "stochastic_rounding",
    "peak_tflops",
    "max_memory",
    "fit",
    "gradient_offload",
    "param_offload",
    "optimizer_offload",
    "optimizer_in_backward",
    "scratch_dir",
    "config_file",
    "num_processes",
    "zero_stage",
    "collective_timeout",
    "device",
    "pack_dir",
    "no_pack",
    "dump_step",
    "control_latents",
    "strict_text_mask",
    "caption_choice",
    "weighting_sigma",
    "allow_config_change",
    "transformer",
    "wandb_sync",
];

#[test]
fn the_flags_of_the_contract_are_all_there() {
    let command = cogview4_trainer::cli::Args::command();
    let mut found: Vec<&str> = command.get_arguments().filter_map(|flag| flag.get_long()).collect();
    let mut expected = FLAGS.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// What `--help` says of a default is what a run without the flag has.
#[test]
fn the_defaults_of_the_help_are_those_of_the_configuration() {
    let config = serde_json::to_value(TrainConfig::new("", "")).unwrap();
    let schedule = &config["recipe"]["schedule"];
    let (recipe, validation, density) = (&config["recipe"], &config["validation"], &config["recipe"]["density"]);
    let places = [
        ("resolution", &recipe["resolution"]),
        ("max_sequence_length", &recipe["max_sequence_length"]),
        ("train_batch_size", &recipe["train_batch_size"]),
        ("num_train_epochs", &config["num_train_epochs"]),
        ("checkpointing_steps", &config["checkpointing_steps"]),
        ("proportion_empty_prompts", &recipe["proportion_empty_prompts"]),
        ("gradient_accumulation_steps", &recipe["gradient_accumulation_steps"]),
        ("learning_rate", &schedule["learning_rate"]),
        ("lr_scheduler", &schedule["scheduler"]),
        ("lr_warmup_steps", &schedule["warmup_steps"]),
        ("lr_num_cycles", &schedule["num_cycles"]),
        ("lr_power", &schedule["power"]),
        ("dataloader_num_workers", &config["dataloader_num_workers"]),
        ("adam_beta1", &recipe["adam"]["beta1"]),
        ("adam_beta2", &recipe["adam"]["beta2"]),
        ("adam_weight_decay", &recipe["adam"]["weight_decay"]),
        ("adam_epsilon", &recipe["adam"]["epsilon"]),
        ("max_grad_norm", &recipe["max_grad_norm"]),
        ("logging_dir", &config["logging_dir"]),
        ("report_to", &config["report_to"][0]),
        ("num_validation_images", &validation["num_validation_images"]),
        ("validation_steps", &validation["steps"]),
        ("guidance_scale", &validation["guidance_scale"]),
        ("tracker_project_name", &config["tracker_project_name"]),
        ("weighting_scheme", &density["scheme"]),
        ("logit_mean", &density["logit_mean"]),
        ("logit_std", &density["logit_std"]),
        ("mode_scale", &density["mode_scale"]),
        ("caption_choice", &recipe["caption_choice"]),
        ("weighting_sigma", &recipe["weighting_sigma"]),
        ("device", &config["device"]),
    ];
    let command = cogview4_trainer::cli::Args::command();
    for (flag, value) in places {
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(flag)).unwrap();
        let help = argument.get_help().unwrap().to_string();
        let said = help.split("[default: ").nth(1).and_then(|said| said.split(']').next()).expect(flag);
        let is_same = match value.as_f64() {
            Some(number) => said.parse::<f64>().unwrap() == number,
            None => value.as_str() == Some(said),
        };
        assert!(is_same, "{flag}: {said} in the help, {value} in the configuration");
    }
}

#[test]
fn only_the_target_blocks_and_the_patch_embedding_move() {
    let workplace = Workplace::new();
    workplace.succeeds(&["--only_target_transformer_blocks"]);
    let open = |folder| WeightFiles::open(folder, "diffusion_pytorch_model").unwrap();
    let (before, after) = (open(&fixtures().join("plain/transformer")), open(&workplace.path("out")));
    let read = |files: &WeightFiles, key: &str| files.read(key, burn::tensor::DType::F32).unwrap();
    for key in before.keys() {
        let trained = key.starts_with("transformer_blocks.") || key.starts_with("patch_embed.proj.");
        assert_eq!(read(&before, key) != read(&after, key), trained, "{key}");
    }
}

#[test]
fn epochs_say_how_long_where_steps_do_not() {
    let workplace = Workplace::new();
    let mut command =
        workplace.command(&["--num_train_epochs", "2", "--gradient_accumulation_steps", "3", "--max_train_steps", "9"]);
    assert!(command.status().unwrap().success());
    assert_eq!(workplace.metrics("out").len(), 9);
    // 11 rows in steps of 6 are 2 steps an epoch; the second is short.
    let flags: Vec<_> = command.get_args().map(|flag| flag.to_str().unwrap().to_string()).collect();
    let steps = flags.iter().position(|flag| flag == "--max_train_steps").unwrap();
    let flags = [&flags[..steps], &flags[steps + 2..]].concat();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
    assert!(command.args(flags).current_dir(workplace.path("")).status().unwrap().success());
    assert_eq!(workplace.metrics("out").len(), 4);
}

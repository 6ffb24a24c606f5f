//! Flags that are refused, and flags that change what is trained.

use cogview4_model::weights::WeightFiles;

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
        (&["--use_8bit_adam"], "--use_8bit_adam"),
        (&["--push_to_hub"], "--push_to_hub"),
        (&["--hub_token", "x"], "--hub_token"),
        (&["--report_to", "wandb"], "--report_to"),
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
        (&["--offload"], "--offload"),
        (&["--config_file", "a.yaml"], "--config_file"),
        (&["--allow_tf32"], "--allow_tf32"),
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

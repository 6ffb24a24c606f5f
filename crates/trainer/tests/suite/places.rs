//! Where weights, gradients and the optimiser's state are changes no byte, and what a run will take is known before.

use std::process::Command;

use crate::support::Workplace;

/// Steps, accumulation and clipping, so that sums of gradients matter.
const FLAGS: [&str; 8] =
    ["--max_train_steps", "4", "--checkpointing_steps", "2", "--max_grad_norm", "0.1", "--report_to", "none"];

const ALL_ON_DISK: [&str; 6] = ["--optimizer_offload", "disk", "--gradient_offload", "disk", "--param_offload", "disk"];

fn assert_same(workplace: &Workplace, expected: &str, found: &str) {
    for file in [
        "diffusion_pytorch_model.safetensors",
        "checkpoint-4/transformer/diffusion_pytorch_model.safetensors",
        "checkpoint-4/optimizer.safetensors",
        "checkpoint-4/state.json",
    ] {
        let [expected, found] = [expected, found].map(|folder| workplace.bytes(&format!("{folder}/{file}")));
        assert!(expected == found, "{file}");
    }
    assert_eq!(workplace.metrics(expected), workplace.metrics(found));
}

#[test]
fn what_is_on_the_disk_changes_nothing() {
    let workplace = Workplace::new();
    for (name, more) in [
        ("plain", &[][..]),
        ("recompute", &["--gradient_checkpointing", "--gradient_accumulation_steps", "3"]),
        ("narrow", &["--mixed_precision", "bf16", "--gradient_accumulation_steps", "2"]),
        ("wide", &["--mixed_precision", "bf16", "--upcast_before_saving", "--only_target_transformer_blocks"]),
        ("small", &["--mixed_precision", "bf16", "--use_8bit_adam", "--stochastic_rounding"]),
        ("at-once", &["--gradient_checkpointing", "--optimizer_in_backward", "--gradient_accumulation_steps", "2"]),
    ] {
        let run = |place: &str, flags: &[&str]| {
            let output = format!("{name}-{place}");
            workplace.succeeds(&[&FLAGS, more, &["--output_dir", &output], flags].concat());
            output
        };
        let (memory, disk) = (run("memory", &[]), run("disk", &ALL_ON_DISK));
        assert_same(&workplace, &memory, &disk);
        let left: Vec<_> = std::fs::read_dir(workplace.path(&format!("{disk}/scratch"))).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// The last line that `plan` prints.
fn plan(workplace: &Workplace, flags: &[&str]) -> serde_json::Value {
    let training = workplace.command(flags);
    let mut command = Command::new(training.get_program());
    command.current_dir(workplace.path("")).arg("plan").args(training.get_args());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn a_plan_is_made_without_a_run() {
    let workplace = Workplace::new();
    let fits = plan(&workplace, &["--gradient_checkpointing"]);
    assert_eq!((&fits["fits"], &fits["flags"]), (&true.into(), &serde_json::json!([])));
    assert!(fits["peak_host_bytes"].as_u64().unwrap() > 0 && fits["disk_bytes"].as_u64().unwrap() > 0);
    assert!(fits["step_seconds"].as_f64().unwrap() > 0.0);
    assert!(!workplace.path("out").exists(), "nothing is made");
    let too_little = plan(&workplace, &["--max_memory", "1MB"]);
    assert_eq!((&too_little["fits"], &too_little["flags"]), (&false.into(), &serde_json::Value::Null));
    let fitted = plan(&workplace, &["--fit", "100GB"]);
    assert_eq!(fitted["fits"], true);
}

#[test]
fn a_run_that_does_not_fit_is_refused_before_it_begins() {
    let workplace = Workplace::new();
    workplace.refuses(&["--max_memory", "1MB"], &["--max_memory: ", "are allowed", "nothing fits, the least is `"]);
    workplace.refuses(&["--fit", "1MB"], &["--fit: ", "nothing fits"]);
    assert!(!workplace.path("out/pack/pack.bin").exists());
}

#[test]
fn a_pack_that_is_complete_needs_no_weights_of_the_text_encoder() {
    let workplace = Workplace::new();
    let pipeline = workplace.pipeline("pipeline");
    let flags = |output| {
        ["--pretrained_model_name_or_path", pipeline.to_str().unwrap(), "--pack_dir", "pack", "--output_dir", output]
    };
    workplace.succeeds(&flags("first"));
    std::fs::remove_file(pipeline.join("text_encoder/model.safetensors")).unwrap();
    workplace.succeeds(&flags("second"));
    assert_eq!(workplace.metrics("first"), workplace.metrics("second"));
    // Another caption would have to be encoded.
    let more = [&flags("third")[..], &["--caption_choice", "first", "--max_sequence_length", "8"]].concat();
    workplace.refuses(&more, &["text_encoder", "model.safetensors"]);
    std::fs::remove_dir_all(workplace.path("pack")).unwrap();
    workplace.refuses(&flags("fourth"), &["text_encoder", "no such model"]);
}

//! Processes sum what one sums, and do all that one does.

use std::{fs, process::Command};

use super::{mpirun, succeeds, train};
use crate::{
    hub::{README, contains, loopback, with_hub},
    support::{Workplace, fixtures},
};

/// Moments after the first step are the summed gradient, but for a factor.
#[test]
fn processes_sum_the_same_gradient_and_follow_the_path_of_one() {
    let workplace = Workplace::new();
    let yaml = fs::read_to_string(fixtures().join("training/accelerate.yaml")).unwrap();
    let run = |name: &str, processes: usize, [batch, micros]: [usize; 2]| {
        let file = format!("{processes}-{micros}.yaml");
        let text = yaml.replace("num_processes: 1", &format!("num_processes: {processes}"));
        let text = text.replace("gradient_accumulation_steps: 4", &format!("gradient_accumulation_steps: {micros}"));
        fs::write(workplace.path(&file), text.replace("mixed_precision: bf16", "mixed_precision: 'no'")).unwrap();
        let batch = batch.to_string();
        let flags = ["--config_file", &file, "--output_dir", name, "--train_batch_size", &batch];
        let more = ["--max_train_steps", "20", "--learning_rate", "1e-4", "--checkpointing_steps", "1"];
        let rest = ["--gradient_checkpointing", "--validation_steps", "100"];
        succeeds(train(&workplace, processes, &[&flags[..], &more, &rest].concat()));
    };
    run("one", 1, [8, 1]);
    let weights = "diffusion_pytorch_model.safetensors";
    let joint = |name: &str, file: &str, prefix: &str| {
        workplace.joint_distance(&format!("{name}/{file}"), &format!("one/{file}"), prefix)
    };
    for (name, processes, division) in [("two", 2, [4, 1]), ("four", 4, [2, 1]), ("two-micros", 2, [2, 2])] {
        run(name, processes, division);
        let gradient = joint(name, "checkpoint-1/optimizer.safetensors", "exp_avg.");
        assert!(gradient < 1e-6, "{name}: {gradient:.1e}");
        let weights = workplace.distance(&format!("{name}/{weights}"), &format!("one/{weights}"));
        assert!(weights < 1e-5, "{name}: {weights:.1e}");
    }
    run("again", 2, [4, 1]);
    for file in [weights, "checkpoint-20/optimizer.safetensors", "checkpoint-20/state.json"] {
        assert!(workplace.bytes(&format!("again/{file}")) == workplace.bytes(&format!("two/{file}")), "{file}");
    }
}

/// The training command of the reference's README with all of its flags and its configuration file, but for sizes of a
/// small model, through `launch` and through mpirun.
#[test]
fn the_command_of_the_references_readme_as_several_processes() {
    let (workplace, hub) = (Workplace::new(), loopback());
    fs::copy(workplace.path("0-edges.png"), workplace.path("pose.png")).unwrap();
    let yaml = fs::read_to_string(fixtures().join("training/accelerate.yaml")).unwrap();
    for (processes, through_mpirun) in [(2, false), (2, true), (8, false)] {
        let text = yaml.replace("num_processes: 1", &format!("num_processes: {processes}"));
        fs::write(workplace.path("accelerate_ds.yaml"), text).unwrap();
        let folder = format!("pose-control-{processes}-{through_mpirun}");
        let mut program = Command::new(env!("CARGO_BIN_EXE_train_control_cogview4"));
        if !through_mpirun {
            program.args(["launch", "--oversubscribe"]);
        }
        program.args(README).arg(format!("--output_dir={folder}"));
        let mut command = if through_mpirun { mpirun(&workplace, processes, &program) } else { program };
        command.current_dir(workplace.path(""));
        with_hub(&mut command, &workplace, &hub);
        let printed = succeeds(command);
        // The first process alone says what it has to say.
        assert_eq!(printed.matches("without effect here: ").count(), 1, "{printed}");
        let run = workplace.path(&folder);
        for file in ["checkpoint-4/transformer/config.json", "README.md", "report.html", "wandb/latest-run/files/media"]
        {
            assert!(run.join(file).exists(), "{file}");
        }
        for picture in ["validation/step-2-1-1.png", "validation/step-4-1-1.png"] {
            assert!(run.join(picture).is_file(), "{picture}");
        }
        assert_eq!(workplace.json_lines(&format!("{folder}/metrics.jsonl")).len(), 4);
        assert!(!contains(&run, b"hf_verysecret"), "the token is in no file of a run");
    }
}

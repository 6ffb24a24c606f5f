//! `launch`: stops as it is asked to, and starts again.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::{ends, ranks, start, succeeds};
use crate::support::Workplace;

fn launch(workplace: &Workplace, flags: &[&str], run: &[&str]) -> Command {
    let run = workplace.command(run);
    let mut command = Command::new(run.get_program());
    command.arg("launch").args(flags).args(run.get_args()).current_dir(workplace.path(""));
    command.arg("--oversubscribe");
    command
}

#[test]
fn a_launch_that_is_asked_to_stop_writes_and_goes_on() {
    let workplace = Workplace::new();
    let flags = |folder| ["--max_train_steps", "150", "--checkpointing_steps", "1000", "--output_dir", folder];
    let two = ["--num_processes", "2"];
    succeeds(launch(&workplace, &two, &flags("whole")));
    let child = start(&workplace, launch(&workplace, &two, &flags("out")), 5);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let (success, error) = ends(&workplace, child);
    assert!(success, "{error}");
    let resume = [&flags("out")[..], &["--resume_from_checkpoint", "latest"]].concat();
    succeeds(launch(&workplace, &two, &resume));
    let weights = "diffusion_pytorch_model.safetensors";
    assert!(workplace.bytes(&format!("out/{weights}")) == workplace.bytes(&format!("whole/{weights}")));
}

#[test]
fn a_launch_starts_again_on_fewer_processes() {
    let workplace = Workplace::new();
    let flags = |folder| {
        ["--max_train_steps", "60", "--checkpointing_steps", "5", "--train_batch_size", "2", "--output_dir", folder]
    };
    succeeds(launch(&workplace, &["--num_processes", "2"], &flags("whole")));
    let again = ["--num_processes", "2", "--max_restarts", "1", "--restart_processes", "1"];
    let child = start(&workplace, launch(&workplace, &again, &flags("out")), 20);
    kill_process(ranks(&workplace)[1], Signal::KILL).unwrap();
    let (success, error) = ends(&workplace, child);
    assert!(success && error.contains("restart 1 of 1"), "{error}");
    let last = workplace.json_lines("out/metrics.jsonl").pop().unwrap();
    assert!(last["step"] == 60 && last.get("processes").is_none(), "{last}");
    let weights = "diffusion_pytorch_model.safetensors";
    let distance = workplace.distance(&format!("out/{weights}"), &format!("whole/{weights}"));
    assert!(distance < 1e-5, "{distance:.1e}");
}

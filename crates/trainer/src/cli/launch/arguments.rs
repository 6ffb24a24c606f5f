//! The command line of a run, taken from that of its launch.

use std::ffi::OsString;

use clap::{Arg, CommandFactory};

use super::{Args, LaunchArgs};

/// Flags of a launch that the run does not know, and whether a value follows.
fn own() -> Vec<(String, bool)> {
    let (launch, run) = (LaunchArgs::command(), Args::command());
    let is_own = |flag: &&Arg| run.get_arguments().all(|other| other.get_long() != flag.get_long());
    let own = launch.get_arguments().filter(is_own);
    own.filter_map(|flag| Some((format!("--{}", flag.get_long()?), flag.get_action().takes_values()))).collect()
}

/// The arguments of the run: those of the launch without its name and its own flags.
pub(super) fn of_run(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut rest = arguments.into_iter();
    let (own, mut kept) = (own(), Vec::new());
    let mut is_launch = true;
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy().into_owned();
        let name = text.split('=').next().unwrap_or_default();
        match own.iter().find(|(own, _)| own == name) {
            Some((own, true)) if *own == text => drop(rest.next()),
            Some(_) => {}
            None if is_launch && text == "launch" => is_launch = false,
            None => kept.push(argument),
        }
    }
    kept
}

/// The same without a flag and its value.
pub(super) fn without(arguments: &[OsString], flag: &str) -> Vec<OsString> {
    let mut changed = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        match text.strip_prefix(flag) {
            Some("") => drop(rest.next()),
            Some(value) if value.starts_with('=') => {}
            _ => changed.push(argument.clone()),
        }
    }
    changed
}

/// The same with a flag set to a value, whatever it was.
#[cfg_attr(not(any(feature = "mpi", test)), expect(dead_code, reason = "nothing is started"))]
pub(super) fn with(arguments: &[OsString], flag: &str, value: &str) -> Vec<OsString> {
    let mut changed = without(arguments, flag);
    changed.extend([flag.into(), value.into()]);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn flags_of_the_launch_are_left_out() {
        let line = "launch --config_file f.yaml --hostfile hosts --oversubscribe --max_restarts=2 --mpirun_args --x \
                    --output_dir launch --num_processes 4";
        assert_eq!(of_run(words(line)), words("--config_file f.yaml --output_dir launch --num_processes 4"));
    }

    #[test]
    fn a_flag_is_given_once() {
        let line = words("--a 1 --resume_from_checkpoint=x --b --resume_from_checkpoint y --ab 3");
        let expected = words("--a 1 --b --ab 3 --resume_from_checkpoint latest");
        assert_eq!(with(&line, "--resume_from_checkpoint", "latest"), expected);
        assert_eq!(with(&words("--a 1"), "--ab", "2"), words("--a 1 --ab 2"));
    }
}

//! W&B's environment variables, and its program at the end of a run.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    config::WandbConfig,
    run::TrainOutcome,
    trackers::{wandb_parts, wandb_run_id},
};

/// Lays what the environment says over settings; what is empty is not given.
pub(super) fn lay_environment(config: &mut WandbConfig, variable: impl Fn(&str) -> Option<String>) {
    let given = |name| variable(name).filter(|value| !value.is_empty());
    config.entity = given("WANDB_ENTITY").or(config.entity.take());
    config.name = given("WANDB_NAME").or(config.name.take());
    config.dir = given("WANDB_DIR").map(PathBuf::from).or(config.dir.take());
    if let Some(tags) = given("WANDB_TAGS") {
        config.tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(String::from).collect();
    }
}

/// Sends the run, or says how; a run that was stopped goes on later, so it is not sent yet.
pub(super) fn sync(outcome: &TrainOutcome, is_asked: bool) {
    let Some(run) = &outcome.wandb_run else { return };
    let line = sync_line(run);
    let Some(program) = program("wandb") else {
        if is_asked {
            note(&format!("--wandb_sync: there is no program `wandb`, where there is one: {line}"));
        }
        return;
    };
    if !is_asked || !outcome.completed {
        return note(&format!("W&B gets the run by: {line}"));
    }
    // It asks nothing: without a login it ends with an error.
    let status = sync_command(&program, run).and_then(|mut command| command.status());
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => note(&format!("--wandb_sync: `wandb sync` ended with {status}, to try again: {line}")),
        Err(error) => note(&format!("--wandb_sync: `wandb sync` cannot be run: {error}, to try again: {line}")),
    }
}

/// Run where the folder `wandb` is, as it writes logs there.
fn sync_command(program: &Path, run: &Path) -> io::Result<Command> {
    let mut command = Command::new(program.canonicalize()?);
    command.arg("sync").stdin(Stdio::null());
    for part in wandb_parts(run) {
        command.arg(part.canonicalize()?);
    }
    command.current_dir(run.ancestors().nth(2).filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")));
    Ok(command)
}

fn note(message: &str) {
    cogview4_cli::note(&format!("note: {message}"));
}

/// What sends all parts of the run, for a shell.
fn sync_line(run: &Path) -> String {
    let folder = run.parent().unwrap_or(Path::new(""));
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    format!("wandb sync {}/offline-run-*-{}", quoted(&folder.to_string_lossy()), wandb_run_id(&name))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    match word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Finds a program as a shell does.
fn program(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_one_for_a_shell() {
        for (run, expected) in [
            ("out/wandb/offline-run-20260101_000000-abcd1234", "wandb sync out/wandb/offline-run-*-abcd1234"),
            ("it's mine/wandb/offline-run-20260101_000000-a-b", r"wandb sync 'it'\''s mine/wandb'/offline-run-*-a-b"),
        ] {
            assert_eq!(sync_line(Path::new(run)), expected);
        }
    }

    #[test]
    fn what_the_environment_says_is_laid_over() {
        let mut config = WandbConfig { name: Some("kept".into()), ..WandbConfig::default() };
        let variables = [("WANDB_TAGS", "pose, first,,"), ("WANDB_DIR", "elsewhere"), ("WANDB_NAME", "")];
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        lay_environment(&mut config, find);
        let expected = WandbConfig {
            entity: None,
            name: Some("kept".into()),
            tags: vec!["pose".into(), "first".into()],
            dir: Some("elsewhere".into()),
        };
        assert_eq!(config, expected);
    }
}

//! The machines of a run, in a file as DeepSpeed has it: `HOST slots=N` a line.

use std::path::Path;

use cogview4_model::files::{MAX_CONFIG_BYTES, read_text};

use crate::error::{Result, TrainError};

/// The hosts of a file, the first of which must be this machine's; each has room for so many processes.
///
/// # Errors
/// A file that cannot be read, a line that is something else, and too few machines or slots.
pub(super) fn read(path: &Path, (machines, each): (usize, usize), main: Option<&str>) -> Result<Vec<(String, usize)>> {
    let fail = |reason: String| TrainError::setting("hostfile", format!("{}: {reason}", path.display()));
    let text = read_text(path, MAX_CONFIG_BYTES).map_err(|error| fail(error.to_string()))?;
    parse(&text, (machines, each), main).map_err(fail)
}

fn parse(text: &str, (machines, each): (usize, usize), main: Option<&str>) -> Result<Vec<(String, usize)>, String> {
    let mut hosts: Vec<(String, usize)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let slots = |line: &str| {
            let (host, slots) = line.split_once(char::is_whitespace)?;
            let slots: usize = slots.trim().strip_prefix("slots=")?.parse().ok()?;
            (slots > 0).then(|| (host.to_owned(), slots))
        };
        let (host, slots) =
            slots(line).ok_or_else(|| format!("line {}: `{line}` is not `HOST slots=N`", number + 1))?;
        // Commas and colons separate hosts on mpirun's command line.
        if host.starts_with('-') || host.contains([',', ':']) {
            return Err(format!("line {}: `{host}` is not the name or address of a host", number + 1));
        }
        if hosts.iter().any(|(other, _)| *other == host) {
            return Err(format!("line {}: `{host}` is there twice", number + 1));
        }
        if slots < each {
            return Err(format!("line {}: `{host}` has {slots} slots, {each} processes are to run there", number + 1));
        }
        hosts.push((host, each));
    }
    if hosts.len() < machines {
        return Err(format!("has {} machines, {machines} are asked for", hosts.len()));
    }
    hosts.truncate(machines);
    match main {
        Some(main) if hosts[0].0 != main => {
            Err(format!("begins with `{}`, main_process_ip is `{main}`: machine 0 comes first", hosts[0].0))
        }
        _ => Ok(hosts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_slots_are_read() {
        let text = "# machines\nworker-1 slots=8\n\n10.0.0.2\tslots=4 # the second\nworker-3 slots=8\n";
        let hosts = parse(text, (2, 4), Some("worker-1")).expect("hosts");
        assert_eq!(hosts, [("worker-1".to_owned(), 4), ("10.0.0.2".to_owned(), 4)]);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line() {
        for (text, culprit) in [
            ("a slots=2\nb\n", "line 2: `b` is not"),
            ("a slots=0\n", "line 1"),
            ("a slots=two\n", "line 1"),
            ("-x slots=2\n", "line 1: `-x`"),
            ("a:2 slots=2\n", "line 1: `a:2`"),
            ("a slots=2\na slots=2\n", "line 2: `a` is there twice"),
            ("a slots=2\nb slots=1\n", "line 2: `b` has 1 slots, 2 processes"),
            ("a slots=2\n", "has 1 machines, 2 are asked for"),
            ("b slots=2\na slots=2\n", "begins with `b`, main_process_ip is `a`"),
        ] {
            let error = parse(text, (2, 2), Some("a")).expect_err(culprit);
            assert!(error.contains(culprit), "{error}");
        }
    }
}

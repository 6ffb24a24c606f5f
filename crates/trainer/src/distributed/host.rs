//! This machine's name, and the last line of a process.

/// Prints a line and ends every process.
pub(super) fn end(abort: fn(i32), rank: usize, host: &str, error: &str) {
    cogview4_cli::note(&format!("error: rank {rank} on {host}: {error}"));
    abort(1);
}

/// The name of this machine.
pub(super) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "localhost".into())
}

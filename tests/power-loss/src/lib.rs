//! Preloaded (`LD_PRELOAD`), this notes what a program has made durable: each file and folder that it syncs, as it was
//! when it did, in the folder that `POWER_LOSS_LOG` names. What is noted a loss of power leaves; of everything else
//! `cargo xtask kills --power` may take away what it likes. Without the variable, syncs are as they always are.
//!
//! Nothing is pretended: the sync itself is made too. It sees `fsync` and `fdatasync` of the C library, which is what
//! Rust's `sync_all` and `sync_data` call. `msync`, `sync_file_range`, `O_SYNC` and bare system calls it does not see,
//! so a program that relies on those would be thought to be less careful than it is. Linux only; empty elsewhere.

#![cfg(target_os = "linux")]

mod record;

use std::{io::Write, path::PathBuf, sync::OnceLock};

use libc::{c_int, c_long};

/// In place of the C library's: the same, and noted.
#[expect(unsafe_code, reason = "the name is what the program calls")]
#[unsafe(no_mangle)]
pub extern "C" fn fsync(file: c_int) -> c_int {
    noted(file, libc::SYS_fsync)
}

/// In place of the C library's: the same, and noted. A file's length counts as durable, as it does for that call
/// wherever the length is needed to read the data.
#[expect(unsafe_code, reason = "the name is what the program calls")]
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(file: c_int) -> c_int {
    noted(file, libc::SYS_fdatasync)
}

/// Makes a sync by its system call, which is nobody's to replace, so that this never calls itself.
fn noted(file: c_int, call: c_long) -> c_int {
    let error = errno();
    // Taken before the sync and valid after it: what another thread writes meanwhile is not promised to be durable.
    let record = log().map(|folder| record::take(folder, file));
    set_errno(error);
    #[expect(unsafe_code, reason = "a system call with a number that is checked by the system")]
    // SAFETY: both calls take a descriptor and touch no memory of this process; one that is not open is an error.
    let result = unsafe { libc::syscall(call, file) };
    let error = errno();
    if result == 0
        && let Some(Err(reason)) = record.map(|record| record.and_then(|record| record.map_or(Ok(()), record::keep)))
    {
        // What is not noted would be taken for lost; the harness looks for this line.
        let _ = writeln!(std::io::stderr(), "power-loss: cannot note a sync: {reason}");
    }
    set_errno(error);
    // 0 or -1.
    if result == 0 { 0 } else { -1 }
}

/// Where to note, looked up once: the environment may change while other threads read it.
fn log() -> Option<&'static PathBuf> {
    static LOG: OnceLock<Option<PathBuf>> = OnceLock::new();
    LOG.get_or_init(|| std::env::var_os("POWER_LOSS_LOG").map(PathBuf::from)).as_ref()
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

/// The caller must find the error of its sync, and not one of the notes.
#[expect(unsafe_code, reason = "the standard library reads the number and does not set it")]
fn set_errno(error: c_int) {
    // SAFETY: the C library gives a place that belongs to this thread.
    unsafe { *libc::__errno_location() = error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_the_call() {
        for sync in [fsync, fdatasync] {
            set_errno(0);
            assert_eq!((sync(-1), errno()), (-1, libc::EBADF));
        }
        let file = tempfile::tempfile().unwrap();
        set_errno(libc::EDOM);
        assert_eq!((fsync(std::os::fd::AsRawFd::as_raw_fd(&file)), errno()), (0, libc::EDOM));
    }
}

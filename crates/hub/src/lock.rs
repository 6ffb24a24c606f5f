//! Locks between processes on one file of the cache, as Python's `filelock` takes them: `flock` on a file of its own.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::Path,
};

use crate::error::{HubError, Result};

/// A lock that is held until this is dropped, or the process ends.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits for the lock; tells `on_wait` first if somebody else holds it. On a file system without locks it is
    /// granted to everybody.
    pub(crate) fn wait(path: &Path, on_wait: impl FnOnce()) -> Result<Self> {
        let failed = |error: io::Error| HubError::io(path, error);
        let mut on_wait = Some(on_wait);
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(on_wait) = on_wait.take() {
                        on_wait();
                    }
                    file.lock().map_err(failed)?;
                }
                Err(TryLockError::Error(error)) if has_no_locks(&error) => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Who held it may have removed the file, and others lock the next one of that name.
            if is_at(&file, path) {
                return Ok(Self { _file: file });
            }
        }
    }
}

/// Whether a file system answers that it knows no locks; network file systems without a lock service do so by a number.
fn has_no_locks(error: &io::Error) -> bool {
    const ENOLCK: i32 = if cfg!(target_os = "macos") { 77 } else { 37 };
    error.kind() == ErrorKind::Unsupported || cfg!(unix) && error.raw_os_error() == Some(ENOLCK)
}

/// Whether an open file is still the one of that name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    // An open file cannot be removed there.
    fs::metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn a_lock_is_waited_for_even_if_its_file_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.lock");
        let held = FileLock::wait(&path, || panic!("nobody holds it")).expect("free");
        let (tell, told) = mpsc::channel();
        let other = std::thread::spawn({
            let path = path.clone();
            move || {
                let lock = FileLock::wait(&path, || tell.send("waits").expect("heard")).expect("granted");
                tell.send("has it").expect("heard");
                lock
            }
        });
        assert_eq!(told.recv(), Ok("waits"));
        assert_eq!(told.recv_timeout(Duration::from_millis(100)), Err(mpsc::RecvTimeoutError::Timeout));
        fs::remove_file(&path).expect("removed, as filelock does");
        drop(held);
        assert_eq!(told.recv(), Ok("has it"));
        let lock = other.join().expect("ended");
        assert!(is_at(&lock._file, &path), "the lock is on the file that others see");
    }
}

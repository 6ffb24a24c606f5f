//! Exclusive locks on folders, so that two processes do not write the same files. A lock is held on a file of its own
//! and belongs to the process: the operating system takes it back however the process ends, so no lock is ever stale.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::Path,
};

use crate::error::{DataError, Result};

/// A folder that is this process's alone, until this is dropped.
///
/// ```
/// use cogview4_data::FolderLock;
///
/// let folder = tempfile::tempdir()?;
/// let lock = FolderLock::acquire(folder.path(), ".lock")?;
/// assert!(lock.is_some());
/// assert!(FolderLock::acquire(folder.path(), ".lock")?.is_none());
/// drop(lock);
/// assert!(FolderLock::acquire(folder.path(), ".lock")?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FolderLock {
    // Closing the file gives the lock back. The file itself stays: were it removed, one process could hold a lock on
    // the removed file while another holds one on a new file of that name.
    _file: File,
}

impl FolderLock {
    /// Locks a folder by the file `name` in it; `None` where somebody else holds the lock. On a file system that has no
    /// locks, the lock is granted to everybody.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub fn acquire(folder: &Path, name: &str) -> Result<Option<Self>> {
        let file = open_lock_file(folder, name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(Some(Self { _file: file })),
            Err(TryLockError::Error(error)) => Err(DataError::file(folder.join(name), error)),
        }
    }
}

/// Whether a file system answers that it knows no locks; network file systems without a lock service do so by a number.
fn has_no_locks(error: &io::Error) -> bool {
    const ENOLCK: i32 = if cfg!(target_os = "macos") { 77 } else { 37 };
    error.kind() == ErrorKind::Unsupported || cfg!(unix) && error.raw_os_error() == Some(ENOLCK)
}

/// Opens a file to lock, and makes it where it is not there.
pub(crate) fn open_lock_file(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    // Opening a pipe would wait for who reads it.
    if std::fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        return Err(DataError::file(path, "not a regular file"));
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    file.map_err(|error| DataError::file(path, error))
}

/// A lock that is waited for, and given back on drop.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a File);

impl<'a> Held<'a> {
    /// Waits until nobody else holds the lock.
    pub(crate) fn wait(file: &'a File) -> io::Result<Self> {
        match file.lock() {
            // Without locks, one process at a time is all that a file system can serve.
            Err(error) if !has_no_locks(&error) => Err(error),
            _ => Ok(Self(file)),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Where this fails, the lock is given back when the file is closed.
        let _ = self.0.unlock();
    }
}

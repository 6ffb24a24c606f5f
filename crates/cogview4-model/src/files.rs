//! Writing files whole or not at all.

use std::{io::Write, path::Path};

use tempfile::NamedTempFile;

use crate::error::{ModelError, Result};

/// Checks, before any work, that [`write_atomic`] will be able to write this file.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn check_writable(path: &Path) -> Result<()> {
    temporary_beside(path).map(drop)
}

/// Writes a file: under another name first, so that it is there whole or not at all.
///
/// # Errors
/// [`ModelError::Write`] names the file.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = temporary_beside(path)?;
    file.write_all(bytes).map_err(|error| write_error(path, error))?;
    file.as_file().sync_all().map_err(|error| write_error(path, error))?;
    file.persist(path).map_err(|error| write_error(path, error.error))?;
    Ok(())
}

/// A file under another name in the same folder; once it is written, `persist` puts it in its place.
///
/// # Errors
/// [`ModelError::Write`] names the file that is meant.
pub fn temporary_beside(path: &Path) -> Result<NamedTempFile> {
    if path.is_dir() || path.file_name().is_none() {
        return Err(write_error(path, "not the name of a file"));
    }
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-");
    // Readable by others as the user's mask says, which is not what temporary files are by default.
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    builder.tempfile_in(folder).map_err(|error| write_error(path, error))
}

fn write_error(path: &Path, reason: impl ToString) -> ModelError {
    ModelError::Write { path: path.into(), reason: reason.to_string() }
}

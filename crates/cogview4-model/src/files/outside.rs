//! Reading files that others have made: regular ones only, and never more than a bound. A pipe would be waited for, a
//! device never ends.

use std::{
    fs::{self, File},
    io::{Error, ErrorKind, Read, Result},
    path::Path,
};

/// Configurations, indices and other small files in JSON or YAML are not larger.
pub const MAX_CONFIG_BYTES: u64 = 256 << 20;
/// Encoded pictures are not larger.
pub const MAX_PICTURE_BYTES: u64 = 1 << 30;
/// Tables of rows, and lines that a run has written, are not larger.
pub const MAX_TABLE_BYTES: u64 = 8 << 30;

/// Opens a regular file, or a link to one.
///
/// # Errors
/// What the operating system says, and something that is no regular file.
pub fn open_regular(path: &Path) -> Result<File> {
    // Looked at before it is opened, as opening a pipe waits for who writes into it.
    if !fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

/// Reads a regular file of at most so many bytes.
///
/// # Errors
/// As [`open_regular`], and a file that is larger.
pub fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    // The system's files say a length of 0; what is read decides.
    bytes.try_reserve(usize::try_from(file.metadata()?.len().min(limit)).unwrap_or_default())?;
    if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads a regular file of text, of at most so many bytes.
///
/// # Errors
/// As [`read_regular`], and what is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let bytes = read_regular(path, limit)?;
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "12345").expect("a file");
        assert_eq!(read_text(&path, 5).expect("small enough"), "12345");
        assert_eq!(read_regular(&path, 4).expect_err("too large").to_string(), "larger than 4 bytes");
        fs::write(&path, b"\xff").expect("a file");
        assert_eq!(read_text(&path, 5).expect_err("no text").to_string(), "not text in UTF-8");
        assert_eq!(read_regular(folder.path(), 5).expect_err("a folder").to_string(), "not a regular file");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()));
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("device")).expect("a link");
        for path in [pipe, folder.path().join("device")] {
            assert_eq!(read_regular(&path, 1).expect_err("refused").to_string(), "not a regular file");
        }
    }
}

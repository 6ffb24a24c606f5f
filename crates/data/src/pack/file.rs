//! A file that is read and written at positions, by several threads at once.

use std::{fs::File, io};

/// A file without a position of its own.
#[derive(Debug)]
pub(super) struct PositionedFile {
    #[cfg(unix)]
    file: File,
    /// Elsewhere a position is set first, so that only one thread at a time reads or writes.
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
}

#[cfg(unix)]
impl PositionedFile {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// All that the file holds from a position on.
    pub(super) fn read_from(&self, position: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len()?.saturating_sub(position)).map_err(io::Error::other)?];
        let mut filled = 0;
        // The file may become shorter meanwhile: then this is all that is left.
        while filled < bytes.len() {
            let read = std::os::unix::fs::FileExt::read_at(&self.file, &mut bytes[filled..], position + filled as u64);
            match read {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Fills `bytes` from a position on.
    pub(super) fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, position)
    }

    /// Writes all of `bytes` from a position on.
    pub(super) fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, position)
    }

    /// Cuts off what is beyond `length`.
    pub(super) fn cut(&self, length: u64) -> io::Result<()> {
        if self.len()? > length { self.file.set_len(length) } else { Ok(()) }
    }

    /// Waits until all that was written is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(not(unix))]
impl PositionedFile {
    pub(super) fn new(file: File) -> Self {
        Self { file: std::sync::Mutex::new(file) }
    }

    fn file(&self) -> std::sync::MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    /// All that the file holds from a position on.
    pub(super) fn read_from(&self, position: u64) -> io::Result<Vec<u8>> {
        use std::io::{Read, Seek, SeekFrom};
        let (mut file, mut bytes) = (self.file(), Vec::new());
        file.seek(SeekFrom::Start(position))?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Fills `bytes` from a position on.
    pub(super) fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = self.file();
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(bytes)
    }

    /// Writes all of `bytes` from a position on.
    pub(super) fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        let mut file = self.file();
        file.seek(SeekFrom::Start(position))?;
        file.write_all(bytes)
    }

    /// Cuts off what is beyond `length`.
    pub(super) fn cut(&self, length: u64) -> io::Result<()> {
        let file = self.file();
        if file.metadata()?.len() > length { file.set_len(length) } else { Ok(()) }
    }

    /// Waits until all that was written is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file().sync_data()
    }
}

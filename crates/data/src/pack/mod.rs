//! Packs: what the frozen models compute from pictures and captions, kept on disk, so that training needs neither VAE
//! nor text encoder.
//!
//! Two files in a folder: `pack.bin` holds the values, f32 in little-endian order, one record after another;
//! `index.jsonl` has a header and a line for each record, written after it. A run that is cut off leaves at most a
//! record without line, or half a line: both are dropped when the next record is appended. Records are found by the
//! hash of all that they depend on, so a changed picture, caption, resolution or encoder has another key.
//!
//! A record whose hash does not hold is noted in `damaged.jsonl`, and made anew by whoever opens the pack next.
//!
//! Several processes may share a pack. Who appends holds a lock on `pack.lock` and first takes up what others have
//! appended, so that offsets are right and nothing is there twice. Readers need no lock: what has a complete line stays
//! as it is.

mod damage;
mod file;
mod format;
mod key;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use burn::tensor::TensorData;

pub use self::key::PackKey;
use self::{
    file::PositionedFile,
    format::{Entry, INDEX, Known, VALUES, check_folder, header_line, record_hash},
};
use crate::{
    error::{DataError, Result},
    lock::{Held, open_lock_file},
};

/// A pack that is open for reading and appending, by any number of threads.
///
/// ```
/// use burn::tensor::TensorData;
/// use cogview4_data::{Pack, PackKey};
///
/// let folder = tempfile::tempdir()?;
/// let pack = Pack::open(folder.path())?;
/// let key = PackKey::new(&[b"what the values depend on"]);
/// let values = TensorData::new(vec![0.5_f32, 1.5], [2, 1]);
/// if !pack.contains(&key) {
///     pack.append(key.clone(), &values)?;
/// }
/// assert_eq!(pack.read(&key, 2)?, values);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pack {
    folder: PathBuf,
    values: PositionedFile,
    index: PositionedFile,
    known: RwLock<Known>,
    /// The file that is locked to append; the mutex has the threads of this process wait for each other.
    appending: Mutex<File>,
}

impl Pack {
    /// Opens a pack, or begins one in a folder that has none.
    ///
    /// # Errors
    /// The folder or its files cannot be made, read or written, or hold something else than a pack of this version;
    /// then they are left as they are.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| DataError::file(folder, error))?;
        check_folder(folder)?;
        let open = |name: &str| {
            let path = folder.join(name);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            file.map(PositionedFile::new).map_err(|error| DataError::file(path, error))
        };
        let pack = Self {
            folder: folder.into(),
            values: open(VALUES)?,
            index: open(INDEX)?,
            known: RwLock::default(),
            appending: Mutex::new(open_lock_file(folder, "pack.lock")?),
        };
        pack.refresh()?;
        pack.forget_damaged()?;
        Ok(pack)
    }

    /// Where records were found damaged, looks at all, as one seldom comes alone, and forgets those that are: they count
    /// as not there, and are appended anew.
    fn forget_damaged(&self) -> Result<()> {
        if !damage::is_noted(&self.folder) {
            return Ok(());
        }
        let entries: Vec<Entry> = self.known().entries.values().cloned().collect();
        let damaged = entries.into_iter().filter(|entry| self.intact_bytes(entry).is_err());
        let damaged: BTreeSet<PackKey> = damaged.map(|entry| entry.key).collect();
        self.known_mut().entries.retain(|key, _| !damaged.contains(key));
        damage::keep(&self.folder, &damaged).map_err(|error| self.error(error))
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a record is known to be there; [`refresh`](Self::refresh) looks for those of other processes.
    pub fn contains(&self, key: &PackKey) -> bool {
        self.known().entries.contains_key(key)
    }

    /// Takes up what other processes have appended: worth a look before a record is computed that is dear.
    ///
    /// # Errors
    /// The pack cannot be read.
    pub fn refresh(&self) -> Result<()> {
        if self.index.len().map_err(|error| self.error(error))? == self.known().index_end {
            return Ok(());
        }
        // Threads that look at the same time take up the same lines one after another, the second finds nothing new.
        self.take_up(&mut self.known_mut()).map_err(|error| self.error(error))
    }

    fn take_up(&self, known: &mut Known) -> io::Result<()> {
        if self.index.len()? < known.index_end {
            // Cut off or emptied by somebody: nothing that is known holds any more.
            *known = Known::default();
        }
        let text = self.index.read_from(known.index_end)?;
        // Only now: a record that has a line was written before it.
        known.take(&text, self.values.len()?);
        Ok(())
    }

    /// Appends a record, unless the pack has it already, of this process or another.
    ///
    /// # Errors
    /// Values that are not f32, have no axis or an axis of 0; a pack that cannot be written, for want of space for
    /// instance: it stays usable.
    pub fn append(&self, key: PackKey, data: &TensorData) -> Result<()> {
        let values = data.as_slice::<f32>().map_err(|error| self.error(error))?;
        let shape = data.shape().to_vec();
        if shape.is_empty() || values.is_empty() {
            return Err(self.error(format!("a record of the shape {shape:?} has no values to keep")));
        }
        let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let hash = record_hash(&key, &shape, &values);

        let lock = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        let fail = |error: io::Error| self.error(format!("cannot write the pack: {error}"));
        let _held = Held::wait(&lock).map_err(fail)?;
        self.refresh()?;
        if self.contains(&key) {
            return Ok(());
        }
        let (index_end, values_end) = self.begin()?;
        let entry = Entry::new(key, values_end, shape, hash);
        let line = entry.line();
        self.values.write_at(&values, values_end).map_err(fail)?;
        self.index.write_at(&line, index_end).map_err(fail)?;
        // Another thread may have taken up the line already; it makes no difference.
        self.known_mut().add(entry, index_end + line.len() as u64, values_end + values.len() as u64);
        Ok(())
    }

    /// Drops what a killed process left, writes the header of a new pack, and gives the ends of index and values. Only
    /// who holds the lock may call this, after a [`refresh`](Self::refresh).
    fn begin(&self) -> Result<(u64, u64)> {
        let fail = |error: io::Error| self.error(format!("cannot write the pack: {error}"));
        let (index_end, values_end) = (self.known().index_end, self.known().values_end);
        if index_end == 0 {
            // Somebody else may have put files of that name here since.
            check_folder(&self.folder)?;
        }
        self.index.cut(index_end).map_err(fail)?;
        self.values.cut(values_end).map_err(fail)?;
        if index_end > 0 {
            return Ok((index_end, values_end));
        }
        let header = header_line();
        self.index.write_at(&header, 0).map_err(fail)?;
        // Values without a header would be taken for somebody else's.
        self.index.sync().map_err(fail)?;
        self.known_mut().index_end = header.len() as u64;
        Ok((header.len() as u64, values_end))
    }

    /// Reads a record, which has `axes` axes.
    ///
    /// # Errors
    /// A record that is not there, cannot be read, is not what was written, or has another number of axes.
    pub fn read(&self, key: &PackKey, axes: usize) -> Result<TensorData> {
        let entry = match self.entry(key) {
            Some(entry) => entry,
            None => {
                self.refresh()?;
                self.entry(key).ok_or_else(|| self.error("lacks a record"))?
            }
        };
        let bytes = self.intact_bytes(&entry)?;
        if entry.shape.len() != axes || entry.shape.contains(&0) {
            let reason = format!("the record at {} has the shape {:?}, not {axes} axes", entry.offset, entry.shape);
            return Err(self.error(reason));
        }
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
        Ok(TensorData::new(values, entry.shape))
    }

    /// The bytes of a record, as they were written.
    fn intact_bytes(&self, entry: &Entry) -> Result<Vec<u8>> {
        let damaged = || {
            damage::note(&self.folder, &entry.key);
            self.error(format!("the record at {} is damaged: start again, and it is made anew", entry.offset))
        };
        // More than there is cannot have been written.
        let available = self.values.len().map_err(|error| self.error(error))?;
        let length = entry.bytes().filter(|&bytes| bytes <= available).and_then(|bytes| usize::try_from(bytes).ok());
        let mut bytes = vec![0; length.ok_or_else(damaged)?];
        self.values.read_at(&mut bytes, entry.offset).map_err(|error| self.error(error))?;
        match entry.is_intact(&bytes) {
            true => Ok(bytes),
            false => Err(damaged()),
        }
    }

    fn entry(&self, key: &PackKey) -> Option<Entry> {
        self.known().entries.get(key).cloned()
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, reason: impl ToString) -> DataError {
        DataError::file(self.folder.join(VALUES), reason)
    }
}

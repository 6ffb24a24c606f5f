//! Packs: what the frozen models compute from pictures and captions, kept on disk, so that training needs neither VAE nor
//! text encoder.
//!
//! Two files in a folder: `pack.bin` holds the values, f32 in little-endian order, one record after another;
//! `index.jsonl` has a line for each record, written after it. A run that is cut off leaves at most a record without
//! line, or half a line: both are dropped when the pack is opened again. Records are found by the hash of all that they
//! depend on, so a changed picture, caption, resolution or encoder has another key.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};

/// The hash of everything a record depends on, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackKey(String);

impl PackKey {
    /// Hashes the parts that a record depends on; where one part ends and the next begins counts.
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().to_hex().to_string())
    }

    /// The hash as text, to make further keys of it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    key: PackKey,
    offset: u64,
    shape: Vec<usize>,
    /// Hash of the record's bytes.
    hash: String,
}

impl Entry {
    fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * size_of::<f32>() as u64
    }
}

/// A pack that is open for reading and appending.
///
/// ```
/// use cogview4_data::{Pack, PackKey};
///
/// # let folder = std::env::temp_dir().join("cogview4-pack-example");
/// let mut pack = Pack::open(&folder)?;
/// let key = PackKey::new(&[b"what the values depend on"]);
/// if !pack.contains(&key) {
///     pack.append(key.clone(), &[2, 1], &[0.5, 1.5])?;
/// }
/// assert_eq!(pack.read(&key)?, (vec![2, 1], vec![0.5, 1.5]));
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), cogview4_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Pack {
    folder: PathBuf,
    entries: HashMap<PackKey, Entry>,
    values: File,
    index: File,
    /// Length of the values that have a line in the index.
    end: u64,
}

impl Pack {
    /// Opens a pack, or begins one.
    ///
    /// # Errors
    /// The folder or its files cannot be made, read or written.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| DataError::file(folder, error))?;
        let open = |name: &str| {
            let path = folder.join(name);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            file.map_err(|error| DataError::file(path, error))
        };
        let (values, mut index) = (open("pack.bin")?, open("index.jsonl")?);
        let fail = |error| DataError::file(folder, error);
        let available = values.metadata().map_err(fail)?.len();
        let mut text = Vec::new();
        index.read_to_end(&mut text).map_err(fail)?;

        let (mut entries, mut end, mut index_end) = (HashMap::new(), 0, 0);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let Some(entry) = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice::<Entry>(line).ok())
            else {
                break;
            };
            if entry.offset != end || entry.offset + entry.bytes() > available {
                break;
            }
            end += entry.bytes();
            index_end += line.len() as u64;
            entries.insert(entry.key.clone(), entry);
        }
        values.set_len(end).map_err(fail)?;
        index.set_len(index_end).map_err(fail)?;
        index.seek(SeekFrom::Start(index_end)).map_err(fail)?;
        Ok(Self { folder: folder.into(), entries, values, index, end })
    }

    /// Whether a record is there.
    pub fn contains(&self, key: &PackKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Appends a record.
    ///
    /// # Errors
    /// The pack cannot be written, for want of space for instance; it stays usable.
    ///
    /// # Panics
    /// When the values do not fill the shape.
    pub fn append(&mut self, key: PackKey, shape: &[usize], values: &[f32]) -> Result<()> {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "values fill the shape");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let entry = Entry { key: key.clone(), offset: self.end, shape: shape.into(), hash };
        let mut line = serde_json::to_vec(&entry).map_err(|error| DataError::file(&self.folder, error))?;
        line.push(b'\n');
        let fail = |error| DataError::file(&self.folder, format!("cannot write the pack: {error}"));
        self.values.seek(SeekFrom::Start(self.end)).map_err(fail)?;
        self.values.write_all(&bytes).map_err(fail)?;
        self.index.write_all(&line).map_err(fail)?;
        self.end += entry.bytes();
        self.entries.insert(key, entry);
        Ok(())
    }

    /// Reads a record: its shape and values.
    ///
    /// # Errors
    /// A record that is not there, cannot be read, or is not what was written.
    pub fn read(&mut self, key: &PackKey) -> Result<(Vec<usize>, Vec<f32>)> {
        let fail = |reason: String| DataError::file(self.folder.join("pack.bin"), reason);
        let entry = self.entries.get(key).ok_or_else(|| fail("lacks a record".into()))?;
        let mut bytes = vec![0; entry.bytes() as usize];
        self.values.seek(SeekFrom::Start(entry.offset)).map_err(|error| fail(error.to_string()))?;
        self.values.read_exact(&mut bytes).map_err(|error| fail(error.to_string()))?;
        if blake3::hash(&bytes).to_hex().as_str() != entry.hash {
            return Err(fail(format!("the record at {} is damaged: remove the pack to make it anew", entry.offset)));
        }
        let values = bytes.as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
        Ok((entry.shape.clone(), values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> PackKey {
        PackKey::new(&[name.as_bytes()])
    }

    #[test]
    fn what_a_cut_off_run_leaves_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut pack = Pack::open(folder.path()).unwrap();
        pack.append(key("a"), &[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        pack.append(key("b"), &[1], &[5.0]).unwrap();
        drop(pack);
        let (values, index) = (folder.path().join("pack.bin"), folder.path().join("index.jsonl"));
        let whole = (std::fs::read(&values).unwrap(), std::fs::read(&index).unwrap());

        // Cut both files wherever a run can be killed: values are written before their line.
        for length in 0..=whole.1.len() {
            std::fs::write(&values, &whole.0).unwrap();
            std::fs::write(&index, &whole.1[..length]).unwrap();
            let mut pack = Pack::open(folder.path()).unwrap();
            if pack.contains(&key("a")) {
                assert_eq!(pack.read(&key("a")).unwrap(), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
            } else {
                pack.append(key("a"), &[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
            }
            if !pack.contains(&key("b")) {
                pack.append(key("b"), &[1], &[5.0]).unwrap();
            }
            drop(pack);
            assert!((std::fs::read(&values).unwrap(), std::fs::read(&index).unwrap()) == whole, "{length}");
        }
    }

    #[test]
    fn damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        Pack::open(folder.path()).unwrap().append(key("a"), &[1], &[1.0]).unwrap();
        std::fs::write(folder.path().join("pack.bin"), 2.0_f32.to_le_bytes()).unwrap();
        let error = Pack::open(folder.path()).unwrap().read(&key("a")).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    }

    #[test]
    fn where_parts_end_counts() {
        assert_ne!(PackKey::new(&[b"ab", b"c"]), PackKey::new(&[b"a", b"bc"]));
    }
}

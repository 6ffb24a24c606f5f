//! What stands in `index.jsonl`: a header, then a line for each record.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::key::{PackKey, hash_of};
use crate::error::{DataError, Result};

/// Name of the file that holds the values.
pub(super) const VALUES: &str = "pack.bin";
/// Name of the file that holds a line for each record.
pub(super) const INDEX: &str = "index.jsonl";

const MAGIC: &str = "cogview4-pack";
const VERSION: u32 = 2;
/// No line of a pack is longer; lines of other files may be, and need not be read to their end.
const LONGEST_LINE: u64 = 1 << 16;

/// The first line of an index.
#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// The header with its end of line, always the same bytes.
pub(super) fn header_line() -> Vec<u8> {
    line_of(&Header { format: MAGIC.into(), version: VERSION })
}

fn line_of(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("invariant: text and numbers are JSON");
    line.push(b'\n');
    line
}

/// The line of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub key: PackKey,
    /// Where the record begins in the file of values.
    pub offset: u64,
    pub shape: Vec<usize>,
    /// Hash of key, shape and values.
    hash: String,
}

impl Entry {
    pub(super) fn new(key: PackKey, offset: u64, shape: Vec<usize>, hash: String) -> Self {
        Self { key, offset, shape, hash }
    }

    pub(super) fn line(&self) -> Vec<u8> {
        line_of(self)
    }

    /// Length of the values; `None` where no file is that long.
    pub(super) fn bytes(&self) -> Option<u64> {
        let elements = self.shape.iter().try_fold(1_u64, |product, &axis| product.checked_mul(axis as u64))?;
        elements.checked_mul(size_of::<f32>() as u64)
    }

    /// Where the record ends in the file of values.
    fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.bytes()?)
    }

    /// Whether these are the values that were written under this key with this shape.
    pub(super) fn is_intact(&self, values: &[u8]) -> bool {
        record_hash(&self.key, &self.shape, values) == self.hash
    }
}

/// Hash of all that a record is; the first part keeps it apart from hashes that are keys.
pub(super) fn record_hash(key: &PackKey, shape: &[usize], values: &[u8]) -> String {
    let axes: Vec<u8> = shape.iter().flat_map(|&axis| (axis as u64).to_le_bytes()).collect();
    hash_of(&[b"cogview4-pack record", key.as_bytes(), &axes, values])
}

/// The records that are known, and how far the files are known.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub entries: HashMap<PackKey, Entry>,
    /// Length of the index up to the last complete line; 0 where there is no header yet.
    pub index_end: u64,
    /// Length of the values that have a line in the index.
    pub values_end: u64,
}

impl Known {
    /// Takes the lines that stand in the index from [`index_end`](Self::index_end) on, up to the first that is not
    /// complete or does not fit; `available` is the length of the file of values.
    pub(super) fn take(&mut self, text: &[u8], available: u64) {
        let mut lines = text.split_inclusive(|&byte| byte == b'\n');
        if self.index_end == 0 {
            let header = header_line();
            if lines.next() != Some(&header) {
                return;
            }
            self.index_end = header.len() as u64;
        }
        for line in lines {
            let Some(entry) = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice::<Entry>(line).ok())
            else {
                return;
            };
            match entry.end().filter(|&end| entry.offset == self.values_end && end <= available) {
                Some(end) => self.add(entry, self.index_end + line.len() as u64, end),
                None => return,
            }
        }
    }

    /// Adds the record that ends there in both files.
    pub(super) fn add(&mut self, entry: Entry, index_end: u64, values_end: u64) {
        self.index_end = index_end;
        self.values_end = values_end;
        self.entries.insert(entry.key.clone(), entry);
    }
}

/// Refuses a folder whose files are not those of a pack, and changes nothing. Other processes may append meanwhile.
pub(super) fn check_folder(folder: &Path) -> Result<()> {
    // The values first: a pack has its header before it has values.
    let values = length(folder, VALUES)?;
    if length(folder, INDEX)? == 0 {
        return if values == 0 { Ok(()) } else { Err(foreign(folder, VALUES)) };
    }
    let path = folder.join(INDEX);
    let fail = |error| DataError::file(&path, error);
    let mut index = BufReader::new(File::open(&path).map_err(fail)?);
    let first = next_line(&mut index).map_err(fail)?;
    let header = header_line();
    if first == header {
        return Ok(());
    }
    // A run that was killed at once leaves a part of the header.
    if header.starts_with(&first) {
        return if values == 0 { Ok(()) } else { Err(foreign(folder, VALUES)) };
    }
    if let Ok(header) = serde_json::from_slice::<Header>(&first)
        && header.format == MAGIC
    {
        let reason = format!("is a pack of version {}, this program has version {VERSION}", header.version);
        return Err(DataError::file(folder, format!("{reason}: remove it to make it anew")));
    }
    if is_earlier(first, &mut index).map_err(fail)? && folder.join(VALUES).exists() {
        return Err(DataError::file(folder, "is a pack of an earlier release: remove it to make it anew"));
    }
    Err(foreign(folder, INDEX))
}

/// Whether an index is that of the release that wrote no header: records only, the last line perhaps cut off.
fn is_earlier(mut line: Vec<u8>, index: &mut impl BufRead) -> std::io::Result<bool> {
    let mut records = 0;
    while serde_json::from_slice::<Entry>(&line).is_ok() {
        records += 1;
        line = next_line(index)?;
    }
    Ok(records > 0 && !line.ends_with(b"\n"))
}

/// A line with its end; nothing at the end of the file.
fn next_line(file: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    file.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Length of a file, 0 where there is none.
fn length(folder: &Path, name: &str) -> Result<u64> {
    match std::fs::metadata(folder.join(name)) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(_) => Err(foreign(folder, name)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(DataError::file(folder.join(name), error)),
    }
}

fn foreign(folder: &Path, name: &str) -> DataError {
    DataError::file(folder, format!("holds `{name}` that is no pack's: choose another folder"))
}

//! The file of records: W&B's header, then LevelDB's log format. Blocks of 32 KiB, counted from the start of the file,
//! hold chunks of records, each with a CRC-32 of its kind and data. Source: LevelDB's `doc/log_format.md`; the checksum
//! is zlib's here, not masked.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use prost::Message;

use super::messages::{Record, What};
use crate::error::{Result, TrainError};

/// `:W&B`, a magic number and the version of the format.
pub(super) const HEADER: [u8; 7] = [b':', b'W', b'&', b'B', 0xe1, 0xbe, 0];
pub(super) const BLOCK: usize = 32_768;
/// Checksum, length and kind, in front of each chunk.
pub(super) const CHUNK_HEADER: usize = 7;

/// A chunk that is a whole record, and the parts of one that is not.
pub(super) const FULL: u8 = 1;
pub(super) const FIRST: u8 = 2;
pub(super) const MIDDLE: u8 = 3;
pub(super) const LAST: u8 = 4;

/// The file of a run that is being written.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    position: usize,
    records: i64,
    /// Whether a record may be there in part: nothing can follow it.
    is_torn: bool,
}

impl LogFile {
    /// Begins the file.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create_new(path).map_err(TrainError::io(path))?;
        let mut log = Self { path: path.into(), file, position: 0, records: 0, is_torn: false };
        log.append(&HEADER)?;
        Ok(log)
    }

    /// Appends a record by one write; does nothing once a write has failed, which its error has told.
    pub(super) fn write(&mut self, what: What) -> Result<()> {
        if self.is_torn {
            return Ok(());
        }
        self.records += 1;
        let record = Record { num: self.records, what: Some(what) }.encode_to_vec();
        self.append(&framed(self.position, &record))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        self.is_torn = written.is_err();
        self.position += bytes.len();
        written.map_err(TrainError::io(&self.path))
    }
}

/// A record as it stands in a file from `position` on.
pub(super) fn framed(position: usize, record: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(record.len() + 2 * CHUNK_HEADER), record);
    // The first chunk has no data where a block has room for its header alone.
    let mut is_first = true;
    loop {
        let mut left = BLOCK - (position + bytes.len()) % BLOCK;
        if left < CHUNK_HEADER {
            bytes.resize(bytes.len() + left, 0);
            left = BLOCK;
        }
        let (data, after) = rest.split_at(rest.len().min(left - CHUNK_HEADER));
        let kind = match (is_first, after.is_empty()) {
            (true, true) => FULL,
            (true, false) => FIRST,
            (false, false) => MIDDLE,
            (false, true) => LAST,
        };
        bytes.extend(checksum(kind, data).to_le_bytes());
        bytes.extend((data.len() as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend(data);
        if after.is_empty() {
            return bytes;
        }
        (rest, is_first) = (after, false);
    }
}

pub(super) fn checksum(kind: u8, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(data);
    hasher.finalize()
}

/// The records of a file, as far as it is whole: a run that was killed may have left a part of one at its end.
pub(super) fn records(bytes: &[u8]) -> Vec<Record> {
    let (mut found, mut record, mut position) = (Vec::new(), Vec::new(), HEADER.len());
    if !bytes.starts_with(&HEADER) {
        return found;
    }
    loop {
        let left = BLOCK - position % BLOCK;
        if left < CHUNK_HEADER {
            position += left;
        }
        let Some((kind, data)) = chunk(bytes.get(position..).unwrap_or_default()) else { return found };
        position += CHUNK_HEADER + data.len();
        if kind == FULL || kind == FIRST {
            record.clear();
        }
        record.extend_from_slice(data);
        if kind == FULL || kind == LAST {
            match Record::decode(record.as_slice()) {
                Ok(record) => found.push(record),
                Err(_) => return found,
            }
        }
    }
}

/// The chunk that bytes begin with, if it is whole.
fn chunk(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (header, rest) = bytes.split_at_checked(CHUNK_HEADER)?;
    let check = u32::from_le_bytes(header[..4].try_into().ok()?);
    let length = u16::from_le_bytes(header[4..6].try_into().ok()?);
    let data = rest.get(..length.into())?;
    (checksum(header[6], data) == check).then_some((header[6], data))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_what_could_not_be_written() {
        let file = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let mut log = LogFile { path: "run.wandb".into(), file, position: 7, records: 0, is_torn: false };
        let error = log.write(What::Exit(super::super::Exit::default())).expect_err("no space");
        assert_eq!(error.to_string(), "cannot read or write run.wandb");
        let (position, records) = (log.position, log.records);
        log.write(What::Exit(super::super::Exit::default())).expect("told already");
        assert_eq!((log.position, log.records), (position, records));
    }
}

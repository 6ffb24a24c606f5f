//! What a parquet file says of its sizes, looked at before its reader takes memory by it.
//!
//! Source: `parquet.thrift` of apache/parquet-format.

use std::{
    fs::File,
    io::{BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom, copy, sink},
};

use flate2::read::MultiGzDecoder;
use parquet::{basic::Compression, file::metadata::RowGroupMetaData};

use super::thrift::{STRUCT, Thrift, broken};

/// Footers are not larger.
const MAX_FOOTER_BYTES: u64 = 256 << 20;
/// Groups of columns in groups of columns are not deeper.
const MAX_SCHEMA_DEPTH: usize = 64;
/// A page of a column is not larger when it is unpacked.
const MAX_PAGE_BYTES: u64 = 1 << 30;
/// Behind the metadata: its length and a mark.
const TAIL_BYTES: u64 = 8;
/// Bytes that a compressed page may unpack to beyond what it says.
const SLACK: u64 = 64 << 10;

/// Looks at the tree of columns: the reader follows it by recursion, and takes room for as many children as it says.
pub(super) fn check_schema(file: &File) -> Result<()> {
    let mut file = file;
    let end = file.seek(SeekFrom::End(0))?;
    if end < TAIL_BYTES {
        return Err(broken());
    }
    file.seek(SeekFrom::Start(end - TAIL_BYTES))?;
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let length = u64::from(u32::from_le_bytes(length));
    if length > MAX_FOOTER_BYTES || length + TAIL_BYTES > end {
        return Err(broken());
    }
    file.seek(SeekFrom::Start(end - TAIL_BYTES - length))?;
    Thrift(BufReader::new(file.take(length))).structure(|thrift, number, kind| match number {
        2 => check_elements(thrift),
        _ => thrift.skip(kind),
    })
}

fn check_elements(thrift: &mut Thrift<impl Read>) -> Result<()> {
    let (length, kind) = thrift.list()?;
    if kind != STRUCT {
        return Err(broken());
    }
    // How many children each open group still lacks.
    let mut open: Vec<u64> = Vec::new();
    for left in (0..length).rev() {
        let mut children = 0;
        thrift.structure(|thrift, number, kind| match number {
            5 => {
                children = size(thrift)?;
                Ok(())
            }
            _ => thrift.skip(kind),
        })?;
        if children > left {
            return Err(Error::new(ErrorKind::InvalidData, "a group of columns says that it has more than there are"));
        }
        if let Some(lacking) = open.last_mut() {
            *lacking -= 1;
        }
        if children > 0 {
            open.push(children);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > MAX_SCHEMA_DEPTH {
            let reason = format!("its columns are groups of groups, more than {MAX_SCHEMA_DEPTH} deep");
            return Err(Error::new(ErrorKind::InvalidData, reason));
        }
    }
    Ok(())
}

/// Looks at the pages of the columns that are wanted: at what they say, and where a reader unpacks to the end whatever
/// they say, at what they unpack to.
pub(super) fn check_pages(file: &File, group: &RowGroupMetaData, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    for column in group.columns() {
        let name = column.column_path().parts().first();
        if !name.is_some_and(|name| is_wanted(name)) {
            continue;
        }
        let first = [Some(column.data_page_offset()), column.dictionary_page_offset()].into_iter().flatten().min();
        let start = first.and_then(|first| u64::try_from(first).ok()).ok_or_else(broken)?;
        let length = u64::try_from(column.compressed_size()).map_err(|_| broken())?;
        let mut file = file;
        let end = start.checked_add(length).filter(|&end| file.metadata().is_ok_and(|found| end <= found.len()));
        let end = end.ok_or_else(broken)?;
        file.seek(SeekFrom::Start(start))?;
        let mut reader = BufReader::new(file);
        while reader.stream_position()? < end {
            check_page(&mut reader, end, column.compression())?;
        }
    }
    Ok(())
}

fn check_page(reader: &mut BufReader<&File>, end: u64, compression: Compression) -> Result<()> {
    let (mut unpacked, mut packed, mut levels) = (0, 0, 0_u64);
    Thrift(&mut *reader).structure(|thrift, number, kind| match number {
        2 => size(thrift).map(|size| unpacked = size),
        3 => size(thrift).map(|size| packed = size),
        // Pages of the second version have the lengths of lists and of what is null in front, never packed.
        8 => thrift.structure(|thrift, number, kind| match number {
            5 | 6 => size(thrift).map(|size| levels = levels.saturating_add(size)),
            _ => thrift.skip(kind),
        }),
        _ => thrift.skip(kind),
    })?;
    let begin = reader.stream_position()?;
    if begin.checked_add(packed).is_none_or(|page_end| page_end > end) || levels > packed {
        return Err(broken());
    }
    let most = unpacked.saturating_add(SLACK);
    reader.seek_relative(levels as i64)?;
    let mut bytes = reader.take(packed - levels);
    let found = match compression {
        _ if unpacked > MAX_PAGE_BYTES => u64::MAX,
        Compression::GZIP(_) => copy(&mut MultiGzDecoder::new(&mut bytes).take(most + 1), &mut sink()).unwrap_or(0),
        Compression::BROTLI(_) => {
            let decoder = brotli::Decompressor::new(&mut bytes, 4096);
            copy(&mut decoder.take(most + 1), &mut sink()).unwrap_or(0)
        }
        _ => 0,
    };
    if found > most {
        return Err(Error::new(ErrorKind::InvalidData, "a page would unpack to more than it says, or than 1 GiB"));
    }
    reader.seek(SeekFrom::Start(begin + packed)).map(drop)
}

fn size(thrift: &mut Thrift<impl Read>) -> Result<u64> {
    u64::try_from(thrift.integer()?).map_err(|_| broken())
}

#[cfg(test)]
#[path = "sizes_tests.rs"]
mod tests;

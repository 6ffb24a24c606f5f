//! As much of Thrift's compact protocol as it takes to look at sizes before a reader believes them.
//!
//! Source: `doc/specs/thrift-compact-protocol.md` of Apache Thrift.

use std::io::{Error, ErrorKind, Read, Result};

/// Structures in structures, of all that parquet has, are not deeper.
const MAX_DEPTH: usize = 16;

/// The type of a value that is a structure.
pub(super) const STRUCT: u8 = 12;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;

/// Reads values one after another.
pub(super) struct Thrift<R>(pub R);

impl<R: Read> Thrift<R> {
    /// Calls `field` with number and type of each field of a structure; it reads the value.
    pub(super) fn structure(&mut self, mut field: impl FnMut(&mut Self, i16, u8) -> Result<()>) -> Result<()> {
        let mut number = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            number = match head >> 4 {
                0 => i16::try_from(self.integer()?).map_err(|_| broken())?,
                step => number.checked_add(step.into()).ok_or_else(broken)?,
            };
            field(self, number, head & 0xf)?;
        }
    }

    /// The number of elements of a list, and their type.
    pub(super) fn list(&mut self) -> Result<(u64, u8)> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.unsigned()?,
            length => length.into(),
        };
        Ok((length, head & 0xf))
    }

    /// An integer of any width.
    pub(super) fn integer(&mut self) -> Result<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, kind: u8) -> Result<()> {
        self.skip_at(kind, 0)
    }

    fn skip_at(&mut self, kind: u8, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(broken());
        }
        match kind {
            // Truth values of fields are in their types.
            1 | 2 => Ok(()),
            3 => self.pass(1),
            4..=6 => self.unsigned().map(drop),
            7 => self.pass(8),
            8 => {
                let length = self.unsigned()?;
                self.pass(length)
            }
            LIST | SET => {
                let (length, kind) = self.list()?;
                (0..length).try_for_each(|_| self.skip_element(kind, depth))
            }
            MAP => {
                let length = self.unsigned()?;
                if length == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..length).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth).and_then(|()| self.skip_element(kinds & 0xf, depth))
                })
            }
            STRUCT => self.structure(|thrift, _, kind| thrift.skip_at(kind, depth + 1)),
            _ => Err(broken()),
        }
    }

    /// As [`skip_at`](Self::skip_at), where truth values are bytes.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Result<()> {
        if matches!(kind, 1 | 2) { self.pass(1) } else { self.skip_at(kind, depth + 1) }
    }

    fn unsigned(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken())
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn pass(&mut self, length: u64) -> Result<()> {
        match std::io::copy(&mut (&mut self.0).take(length), &mut std::io::sink())? == length {
            true => Ok(()),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

pub(super) fn broken() -> Error {
    Error::new(ErrorKind::InvalidData, "its metadata is broken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_passed_over() {
        // Field 1: the integer -2; field 3: a list of two byte strings; field 20: a structure with a truth value.
        let bytes = [0x15, 3, 0x29, 0x28, 1, b'a', 0, 0x0c, 40, 0x11, 0, 0];
        let mut found = Vec::new();
        let mut thrift = Thrift(&bytes[..]);
        let read = thrift.structure(|thrift, number, kind| {
            found.push((number, kind));
            if number == 1 {
                assert_eq!(thrift.integer()?, -2);
                return Ok(());
            }
            thrift.skip(kind)
        });
        read.expect("whole");
        assert_eq!(found, [(1, 5), (3, LIST), (20, STRUCT)]);
        assert!(thrift.0.is_empty());
    }

    #[test]
    fn what_does_not_end_is_refused() {
        for bytes in [&[0x1c; 40][..], &[0x19, 0xf8, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x16, 0xff], &[0x1f]] {
            assert!(Thrift(bytes).structure(|thrift, _, kind| thrift.skip(kind)).is_err());
        }
    }
}

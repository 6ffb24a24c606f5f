//! A small reader of W&B's run files, written after the description of the format alone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

pub(crate) type Object = BTreeMap<String, Value>;

/// What a part of a run holds.
#[derive(Default)]
pub(crate) struct Part {
    /// Fields of the run's record that are text or a number, by number.
    pub(crate) run: BTreeMap<u64, String>,
    pub(crate) config: Object,
    pub(crate) history: Vec<Object>,
    pub(crate) summary: Object,
    pub(crate) files: Vec<String>,
    pub(crate) exit_code: Option<u64>,
}

enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Field {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Number(_) => panic!("a number"),
            Self::Bytes(bytes) => bytes,
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// The fields of a protobuf message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = varint(&mut bytes);
        found.push(match key & 7 {
            0 => (key >> 3, Field::Number(value)),
            2 => {
                let (data, rest) = bytes.split_at(value as usize);
                bytes = rest;
                (key >> 3, Field::Bytes(data.into()))
            }
            kind => panic!("wire type {kind}"),
        });
    }
    found
}

/// The records of a file.
fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
    assert_eq!(&bytes[..7], b":W&B\xe1\xbe\0");
    let (mut found, mut position) = (Vec::new(), 7);
    while position < bytes.len() {
        let left = 32_768 - position % 32_768;
        if left < 7 {
            position += left;
            continue;
        }
        let length = usize::from(u16::from_le_bytes(bytes[position + 4..position + 6].try_into().unwrap()));
        let kind = bytes[position + 6];
        let chunk = &bytes[position + 6..position + 7 + length];
        assert_eq!(bytes[position..position + 4], crc32fast::hash(chunk).to_le_bytes());
        if kind == 1 || kind == 2 {
            found.push(Vec::new());
        }
        found.last_mut().unwrap().extend_from_slice(&chunk[1..]);
        position += 7 + length;
    }
    found
}

/// Values by their names.
fn items(message: &[u8]) -> Object {
    let mut found = Object::new();
    for (_, item) in fields(message).iter().filter(|(number, _)| *number == 1) {
        let parts = fields(item.bytes());
        let name: Vec<String> = parts.iter().filter(|(number, _)| *number == 2).map(|(_, key)| key.text()).collect();
        let value = parts.iter().find(|(number, _)| *number == 16).unwrap().1.text();
        assert!(
            found.insert(name.join("."), serde_json::from_str(&value).unwrap()).is_none(),
            "{name:?} is there once"
        );
    }
    found
}

pub(crate) fn read_part(folder: &Path) -> Part {
    let id = folder.file_name().unwrap().to_str().unwrap().rsplit('-').next().unwrap();
    let bytes = fs::read(folder.join(format!("run-{id}.wandb"))).unwrap();
    let mut part = Part::default();
    for (index, record) in records(&bytes).iter().enumerate() {
        for (number, field) in fields(record) {
            match number {
                1 => assert_eq!(field.text(), (index + 1).to_string()),
                2 => part.history.push(items(field.bytes())),
                3 => part.summary = items(field.bytes()),
                6 => part.files.extend(fields(field.bytes()).iter().map(|(_, file)| fields(file.bytes())[0].1.text())),
                17 => {
                    for (number, field) in fields(field.bytes()) {
                        match number {
                            4 => part.config = items(field.bytes()),
                            _ => drop(part.run.insert(number, field.text())),
                        }
                    }
                }
                18 => {
                    let exit = fields(field.bytes());
                    let code = exit.iter().find(|(number, _)| *number == 1);
                    part.exit_code = Some(code.map_or(0, |(_, code)| code.text().parse().unwrap()));
                }
                21 => assert_eq!(index, 0),
                _ => panic!("a record of kind {number}"),
            }
        }
    }
    part
}

/// The folders of a run's parts, the oldest first.
pub(crate) fn parts(wandb: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs::read_dir(wandb).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("offline-run-"));
    folders.sort();
    folders
}

/// The one file of records in a folder.
pub(crate) fn log_of(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "wandb")).unwrap()
}

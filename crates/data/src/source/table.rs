//! Tables of text, `*.jsonl` and `metadata.csv`, whose pictures are files beside them.

use std::path::{Path, PathBuf};

use cogview4_model::files::{MAX_TABLE_BYTES, read_text};
use serde_json::{Map, Value};

use super::{Columns, Dataset, Picture, Row, formats::has_extension, row::inside};
use crate::error::{DataError, Result};

/// Where pictures of a table may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PicturePlace {
    /// Wherever the table says: one's own list.
    Anywhere,
    /// In the folder of the table: a data set that may be of somebody else.
    Inside,
}

/// A table held in memory; pictures stay on disk.
#[derive(Debug)]
pub(super) struct TableDataset {
    path: PathBuf,
    /// All columns of the first row.
    names: Vec<String>,
    /// With the number of each row in its file: lines may be empty.
    rows: Vec<(usize, Row)>,
}

impl TableDataset {
    /// Opens a table, whose pictures may be anywhere or in its folder only.
    pub(super) fn open(path: &Path, columns: &Columns, place: PicturePlace) -> Result<Self> {
        let text = read_text(path, MAX_TABLE_BYTES).map_err(|error| DataError::file(path, error))?;
        let records = if has_extension(&path.to_string_lossy(), &["csv"]) {
            read_csv(path, &text)?
        } else {
            read_jsonl(path, &text)?
        };
        let Some((_, first)) = records.first() else {
            return Err(DataError::file(path, "has no rows"));
        };
        let names: Vec<String> = first.keys().cloned().collect();
        columns.check(&names)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let parse = |(number, record): &(usize, Map<String, Value>)| {
            let picture = |column: &String| match (record.get(column).and_then(Value::as_str), place) {
                (Some(name), PicturePlace::Anywhere) => Ok(Picture::File(folder.join(name))),
                (Some(name), PicturePlace::Inside) => {
                    inside(folder, name).map(Picture::File).map_err(|reason| DataError::row(path, *number, reason))
                }
                (None, _) => Err(DataError::row(path, *number, format!("`{column}` is not the path of a picture"))),
            };
            let row = Row {
                image: picture(&columns.image)?,
                conditioning_image: picture(&columns.conditioning_image)?,
                captions: captions(record.get(&columns.caption))
                    .ok_or_else(|| DataError::row(path, *number, format!("`{}` holds no caption", columns.caption)))?,
            };
            Ok((*number, row))
        };
        Ok(Self { path: path.into(), names, rows: records.iter().map(parse).collect::<Result<_>>()? })
    }
}

impl TableDataset {
    /// Leaves out the rows after the first `rows`.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows.truncate(rows);
    }

    /// Number of the row and file of each picture.
    pub(super) fn pictures(&self) -> impl Iterator<Item = (usize, &Path)> {
        self.rows.iter().flat_map(|(number, row)| {
            [&row.image, &row.conditioning_image].into_iter().filter_map(|picture| match picture {
                Picture::File(path) => Some((*number, path.as_path())),
                Picture::Bytes(_) => None,
            })
        })
    }
}

impl Dataset for TableDataset {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, index: usize) -> Result<Row> {
        Ok(self.rows[index].1.clone())
    }

    fn place(&self, index: usize) -> (PathBuf, usize) {
        (self.path.clone(), self.rows[index].0)
    }

    fn columns(&self) -> Vec<String> {
        self.names.clone()
    }
}

/// A string, or a list of strings that is not empty.
fn captions(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::String(caption) => Some(vec![caption.clone()]),
        Value::Array(list) if !list.is_empty() => list.iter().map(|item| item.as_str().map(String::from)).collect(),
        _ => None,
    }
}

/// Numbered rows; empty lines are passed over.
fn read_jsonl(path: &Path, text: &str) -> Result<Vec<(usize, Map<String, Value>)>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| match serde_json::from_str(line) {
            Ok(Value::Object(record)) => Ok((index + 1, as_columns(record))),
            Ok(_) => Err(DataError::row(path, index + 1, "is not a JSON object")),
            Err(error) => Err(DataError::row(path, index + 1, format!("is not valid JSON: {error}"))),
        })
        .collect()
}

fn read_csv(path: &Path, text: &str) -> Result<Vec<(usize, Map<String, Value>)>> {
    if has_open_quote(text) {
        return Err(DataError::file(path, "has a quote that never ends"));
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader
        .deserialize::<std::collections::BTreeMap<String, String>>()
        .enumerate()
        .map(|(index, record)| {
            let record = record.map_err(|error| DataError::row(path, index + 1, error))?;
            Ok((index + 1, as_columns(record.into_iter().map(|(key, value)| (key, Value::String(value))).collect())))
        })
        .collect()
}

/// Whether a quoted value is open at the end: it has taken all rows behind it, without a word. Within a value that does
/// not begin with one, a quote stands for itself.
fn has_open_quote(text: &str) -> bool {
    let (mut is_quoted, mut is_at_start) = (false, true);
    let mut bytes = text.trim_start_matches('\u{feff}').bytes().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, is_quoted) {
            (b'"', true) if bytes.peek() == Some(&b'"') => drop(bytes.next()),
            (b'"', true) => is_quoted = false,
            (b'"', false) => is_quoted = is_at_start,
            _ => {}
        }
        is_at_start = !is_quoted && matches!(byte, b',' | b'\n' | b'\r');
    }
    is_quoted
}

/// As `datasets` names the columns of a folder of pictures: `file_name` is `image`, `x_file_name` is `x`.
fn as_columns(record: Map<String, Value>) -> Map<String, Value> {
    let column = |key: String| match key.as_str() {
        "file_name" => "image".into(),
        _ => key.strip_suffix("_file_name").map_or(key.clone(), String::from),
    };
    record.into_iter().map(|(key, value)| (column(key), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_quote_that_opens_a_value_has_to_end() {
        for text in ["", "a,\"b\"\n", "a,5\" wide\nb,c\n", "\"a \"\"b\"\"\nc\",d", "\u{feff}\"a\",b", "\"a\"b\",c"] {
            assert!(!has_open_quote(text), "{text}");
        }
        for text in ["\"", "a,\"b\n", "a,b\n\"c \"\"d\ne,f", "\u{feff}\"a", "\"a\",\"b"] {
            assert!(has_open_quote(text), "{text}");
        }
    }
}

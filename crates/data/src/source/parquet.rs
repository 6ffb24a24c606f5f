//! Parquet in the Hugging Face form: pictures are `struct<bytes, path>`, or strings with the path of a file.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row as Record},
    schema::types::Type,
};

use super::{Columns, Dataset, Picture, Row};
use crate::error::{DataError, Result};

/// Row groups are read whole, when a row of theirs is asked for; the last one is kept.
pub(super) struct ParquetDataset {
    groups: Vec<Group>,
    columns: Columns,
    /// All columns of the first file.
    names: Vec<String>,
    /// Whether pictures may be files beside the data set.
    may_name_files: bool,
    last: Mutex<Option<(usize, Arc<Vec<Row>>)>>,
}

struct Group {
    path: PathBuf,
    index_in_file: usize,
    /// Rows of the data set before this group.
    first: usize,
    /// Rows of the file before this group.
    first_in_file: usize,
    rows: usize,
}

impl ParquetDataset {
    /// Opens files in turn, no more of them than `max_rows` rows are in: the next one is not even asked for.
    pub(super) fn open(
        files: impl IntoIterator<Item = Result<PathBuf>>,
        columns: &Columns,
        max_rows: Option<usize>,
    ) -> Result<Self> {
        let (mut groups, mut first, mut names) = (Vec::new(), 0, None);
        let mut files = files.into_iter();
        while max_rows.is_none_or(|rows| first < rows)
            && let Some(path) = files.next().transpose()?
        {
            let reader = open(&path)?;
            let metadata = reader.metadata();
            let fields = metadata.file_metadata().schema().get_fields();
            let found: Vec<String> = fields.iter().map(|field| field.name().into()).collect();
            columns.check(&found)?;
            names.get_or_insert(found);
            let mut first_in_file = 0;
            for index_in_file in 0..metadata.num_row_groups() {
                let rows = usize::try_from(metadata.row_group(index_in_file).num_rows())
                    .map_err(|_| DataError::file(&path, "has a row group with a negative number of rows"))?;
                groups.push(Group { path: path.clone(), index_in_file, first, first_in_file, rows });
                first += rows;
                first_in_file += rows;
            }
        }
        let names = names.unwrap_or_default();
        Ok(Self { groups, columns: columns.clone(), names, may_name_files: true, last: Mutex::new(None) })
    }

    /// The same for files from elsewhere, whose rows must not name files of this machine.
    pub(super) fn without_files(mut self) -> Self {
        self.may_name_files = false;
        self
    }

    fn group_of(&self, index: usize) -> (usize, &Group) {
        let group = self.groups.partition_point(|group| group.first + group.rows <= index);
        (group, &self.groups[group])
    }

    fn read(&self, group: &Group) -> Result<Vec<Row>> {
        let fail = |error| DataError::file(&group.path, format!("row group {}: {error}", group.index_in_file));
        let reader = open(&group.path)?;
        let schema = reader.metadata().file_metadata().schema();
        let wanted = [&self.columns.image, &self.columns.conditioning_image, &self.columns.caption];
        let fields = schema.get_fields().iter().filter(|field| wanted.iter().any(|name| *name == field.name()));
        let projection = Type::group_type_builder(schema.name()).with_fields(fields.cloned().collect()).build();
        let records = reader.get_row_group(group.index_in_file).map_err(fail)?;
        let records = records.get_row_iter(Some(projection.map_err(fail)?)).map_err(fail)?;
        let folder = group.path.parent().unwrap_or(Path::new(""));
        records
            .enumerate()
            .map(|(index, record)| {
                let parsed = record.map_err(|error| error.to_string()).and_then(|record| self.parse(&record, folder));
                parsed.map_err(|reason| DataError::row(&group.path, group.first_in_file + index + 1, reason))
            })
            .collect()
    }

    fn parse(&self, record: &Record, folder: &Path) -> Result<Row, String> {
        let field = |column: &String| {
            let found = record.get_column_iter().find(|(name, _)| *name == column);
            found.map(|(_, field)| field).ok_or_else(|| format!("`{column}` is missing"))
        };
        let image = |column: &String| match picture(field(column)?, folder) {
            Some(Picture::File(_)) if !self.may_name_files => {
                Err(format!("`{column}` is the path of a picture, and not the picture: that needs a local copy"))
            }
            found => found.ok_or_else(|| format!("`{column}` is not a picture")),
        };
        let caption = &self.columns.caption;
        Ok(Row {
            image: image(&self.columns.image)?,
            conditioning_image: image(&self.columns.conditioning_image)?,
            captions: captions(field(caption)?).ok_or_else(|| format!("`{caption}` holds no caption"))?,
        })
    }
}

impl Dataset for ParquetDataset {
    fn len(&self) -> usize {
        self.groups.last().map_or(0, |group| group.first + group.rows)
    }

    fn row(&self, index: usize) -> Result<Row> {
        let (number, group) = self.group_of(index);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = match &*last {
            Some((kept, rows)) if *kept == number => Arc::clone(rows),
            _ => {
                let rows = Arc::new(self.read(group)?);
                *last = Some((number, Arc::clone(&rows)));
                rows
            }
        };
        rows.get(index - group.first).cloned().ok_or_else(|| {
            DataError::file(&group.path, format!("row group {} has fewer rows than it says", group.index_in_file))
        })
    }

    fn place(&self, index: usize) -> (PathBuf, usize) {
        let (_, group) = self.group_of(index);
        (group.path.clone(), group.first_in_file + index - group.first + 1)
    }

    fn columns(&self) -> Vec<String> {
        self.names.clone()
    }
}

fn open(path: &Path) -> Result<SerializedFileReader<File>> {
    let file = File::open(path).map_err(|error| DataError::file(path, error))?;
    SerializedFileReader::new(file)
        .map_err(|error| DataError::file(path, format!("not a complete parquet file: {error}")))
}

fn picture(field: &Field, folder: &Path) -> Option<Picture> {
    match field {
        Field::Str(path) => Some(Picture::File(folder.join(path))),
        Field::Bytes(bytes) => Some(Picture::Bytes(bytes.data().to_vec())),
        Field::Group(parts) => {
            let part = |name: &str| parts.get_column_iter().find(|(found, _)| *found == name).map(|(_, field)| field);
            part("bytes")
                .and_then(|field| picture(field, folder))
                .or_else(|| part("path").and_then(|field| picture(field, folder)))
        }
        _ => None,
    }
}

/// A string, or a list of strings that is not empty.
fn captions(field: &Field) -> Option<Vec<String>> {
    match field {
        Field::Str(caption) => Some(vec![caption.clone()]),
        Field::ListInternal(list) if !list.elements().is_empty() => {
            let caption = |field: &Field| match field {
                Field::Str(caption) => Some(caption.clone()),
                _ => None,
            };
            list.elements().iter().map(caption).collect()
        }
        _ => None,
    }
}

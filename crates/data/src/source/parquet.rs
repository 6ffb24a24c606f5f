//! Parquet in the Hugging Face form: pictures are `struct<bytes, path>`, or strings with the path of a file.

mod sizes;
mod thrift;

use std::{
    fmt::Display,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use cogview4_model::{fence::fenced, files::open_regular};
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row as Record},
    schema::types::Type,
};

use super::{Columns, Dataset, Picture, Row, row::inside};
use crate::error::{DataError, Result};

/// Rows that a byte of a file holds at most: columns whose values are all the same take hardly any.
const MAX_ROWS_A_BYTE: usize = 64;

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
            let (found, row_groups) = inspect(&path)?;
            columns.check(&found)?;
            names.get_or_insert(found);
            let mut first_in_file = 0;
            for (index_in_file, rows) in row_groups.into_iter().enumerate() {
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
        fenced(|| self.read_unfenced(group)).unwrap_or_else(|_| {
            let reason = format!("row group {} is broken, or not of this format", group.index_in_file);
            Err(DataError::file(&group.path, reason))
        })
    }

    fn read_unfenced(&self, group: &Group) -> Result<Vec<Row>> {
        let fail =
            |error: &dyn Display| DataError::file(&group.path, format!("row group {}: {error}", group.index_in_file));
        let (file, reader) = open(&group.path)?;
        let schema = reader.metadata().file_metadata().schema();
        let wanted = [&self.columns.image, &self.columns.conditioning_image, &self.columns.caption];
        let fields = schema.get_fields().iter().filter(|field| wanted.iter().any(|name| *name == field.name()));
        let projection = Type::group_type_builder(schema.name()).with_fields(fields.cloned().collect()).build();
        let is_wanted = |name: &str| wanted.iter().any(|wanted| *wanted == name);
        sizes::check_pages(&file, reader.metadata().row_group(group.index_in_file), is_wanted)
            .map_err(|error| fail(&error))?;
        let records = reader.get_row_group(group.index_in_file).map_err(|error| fail(&error))?;
        let projection = projection.map_err(|error| fail(&error))?;
        let records = records.get_row_iter(Some(projection)).map_err(|error| fail(&error))?;
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
        let image = |column: &String| match picture(field(column)?) {
            Some(Found::Path(_)) if !self.may_name_files => {
                Err(format!("`{column}` is the path of a picture, and not the picture: that needs a local copy"))
            }
            Some(Found::Path(name)) => inside(folder, name).map(Picture::File),
            Some(Found::Bytes(bytes)) => Ok(Picture::Bytes(bytes.to_vec())),
            None => Err(format!("`{column}` is not a picture")),
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

/// The columns of a file, and how many rows its groups say that they have.
fn inspect(path: &Path) -> Result<(Vec<String>, Vec<usize>)> {
    let inspect = || {
        let (file, reader) = open(path)?;
        let metadata = reader.metadata();
        let fields = metadata.file_metadata().schema().get_fields();
        let names = fields.iter().map(|field| field.name().into()).collect();
        let length = file.metadata().map_err(|error| DataError::file(path, error))?.len();
        // A row takes more than nothing, whatever a file says.
        let mut left = usize::try_from(length).unwrap_or(usize::MAX).saturating_mul(MAX_ROWS_A_BYTE);
        let rows = |index: usize| {
            let rows = usize::try_from(metadata.row_group(index).num_rows()).ok().filter(|&rows| rows <= left);
            left -= rows.unwrap_or_default();
            rows.ok_or_else(|| DataError::file(path, format!("row group {index} cannot have as many rows as it says")))
        };
        Ok((names, (0..metadata.num_row_groups()).map(rows).collect::<Result<_>>()?))
    };
    fenced(inspect).unwrap_or_else(|_| Err(DataError::file(path, "its metadata is broken")))
}

/// Opens a file whose sizes were looked at. Only to be called in a fence: the reader panics on much that is broken.
fn open(path: &Path) -> Result<(File, SerializedFileReader<File>)> {
    let fail = |error: &dyn Display| DataError::file(path, format!("not a complete parquet file: {error}"));
    let file = open_regular(path).map_err(|error| DataError::file(path, error))?;
    sizes::check_schema(&file).map_err(|error| fail(&error))?;
    let reader = file.try_clone().map_err(|error| fail(&error))?;
    Ok((file, SerializedFileReader::new(reader).map_err(|error| fail(&error))?))
}

/// What a value is of a picture.
enum Found<'a> {
    Path(&'a str),
    Bytes(&'a [u8]),
}

fn picture(field: &Field) -> Option<Found<'_>> {
    match field {
        Field::Str(path) => Some(Found::Path(path)),
        Field::Bytes(bytes) => Some(Found::Bytes(bytes.data())),
        Field::Group(parts) => {
            let part = |name: &str| parts.get_column_iter().find(|(found, _)| *found == name).map(|(_, field)| field);
            part("bytes").and_then(picture).or_else(|| part("path").and_then(picture))
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

//! Writes a data set as Hugging Face's parquet, in the columns of `open_pose_controlnet`.

use std::{fs::File, path::Path, sync::Arc};

use cogview4_model::files::AtomicFile;
use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType},
    errors::Result as ParquetResult,
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};

use crate::{
    error::{DataError, Result},
    source::Row,
};

/// An image is a group, as the `datasets` library has it.
const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional group conditioning_image { optional binary bytes; optional binary path (UTF8); }
    optional binary text (UTF8);
}";
/// Rows that are read together.
const GROUP_ROWS: usize = 100;

/// Writes rows with their pictures; each row has one caption. The file is there whole or not at all.
///
/// ```
/// use cogview4_data::{Columns, Picture, Row, open_dataset, write_parquet};
///
/// let folder = tempfile::tempdir()?;
/// let picture = || Picture::from(image::RgbImage::new(8, 8));
/// let row = Row { image: picture(), conditioning_image: picture(), captions: vec!["nothing".into()] };
/// write_parquet(&folder.path().join("train.parquet"), [Ok(row.clone())])?;
/// assert_eq!(open_dataset(folder.path(), &Columns::default())?.row(0)?, row);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first row that cannot be read, or a file that cannot be written.
pub fn write_parquet(path: &Path, rows: impl IntoIterator<Item = Result<Row>>) -> Result<()> {
    let fail = |error: &dyn std::fmt::Display| DataError::file(path, error);
    let file = AtomicFile::create(path)?;
    let handle = file.file().try_clone().map_err(|error| fail(&error))?;
    let mut writer = open(handle).map_err(|error| fail(&error))?;
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let group = rows.by_ref().take(GROUP_ROWS).collect::<Result<Vec<_>>>()?;
        let columns = columns(&group).map_err(|reason| fail(&reason))?;
        write_group(writer.next_row_group().map_err(|error| fail(&error))?, columns).map_err(|error| fail(&error))?;
    }
    writer.close().map_err(|error| fail(&error))?;
    Ok(file.commit()?)
}

fn open(file: File) -> ParquetResult<SerializedFileWriter<File>> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_dictionary_enabled(false);
    SerializedFileWriter::new(file, Arc::new(parse_message_type(SCHEMA)?), Arc::new(properties.build()))
}

/// Values of a column, and how far each is defined: an image of 2 levels whose `path` is missing has 1.
struct Column {
    values: Vec<ByteArray>,
    levels: Vec<i16>,
}

fn columns(rows: &[Row]) -> Result<[Column; 5], String> {
    let bytes = |picture: fn(&Row) -> &crate::Picture| -> Result<Column, String> {
        let bytes = |row| picture(row).bytes().map(ByteArray::from).map_err(|error| error.to_string());
        let values = rows.iter().map(bytes).collect::<Result<_, _>>()?;
        Ok(Column { values, levels: vec![2; rows.len()] })
    };
    let no_path = || Column { values: Vec::new(), levels: vec![1; rows.len()] };
    let caption = |row: &Row| match row.captions.as_slice() {
        [caption] => Ok(caption.as_str().into()),
        captions => Err(format!("a row has {} captions, the column has room for one", captions.len())),
    };
    let captions = rows.iter().map(caption).collect::<Result<_, _>>()?;
    Ok([
        bytes(|row| &row.image)?,
        no_path(),
        bytes(|row| &row.conditioning_image)?,
        no_path(),
        Column { values: captions, levels: vec![1; rows.len()] },
    ])
}

fn write_group(mut group: SerializedRowGroupWriter<'_, File>, columns: [Column; 5]) -> ParquetResult<()> {
    for Column { values, levels } in columns {
        if let Some(mut column) = group.next_column()? {
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
            column.close()?;
        }
    }
    group.close().map(|_| ())
}

//! The rows of a data set, and their pictures.

use std::{io::Write, path::Path};

use cogview4_cli::one_line;
use cogview4_data::{Columns, Dataset, DatasetOptions, Picture, open_jsonl, open_source};
use cogview4_hub::{Hub, Source};

use super::{InspectArgs, PictureColumn, has_extension, on_output};
use crate::{
    cli::resolve::lay,
    error::{Result, TrainError},
};

/// Rows that are shown.
const SHOWN_ROWS: usize = 8;

pub(super) fn open(args: &InspectArgs) -> Result<Box<dyn Dataset>> {
    let mut columns = Columns::default();
    lay(&mut columns.image, args.image_column.clone());
    lay(&mut columns.conditioning_image, args.conditioning_image_column.clone());
    lay(&mut columns.caption, args.caption_column.clone());
    if has_extension(&args.path, "jsonl") {
        return Ok(open_jsonl(&args.path, &columns)?);
    }
    let options = DatasetOptions {
        config_name: args.dataset_config_name.as_deref(),
        // Of a data set on the Hub, no more is downloaded than holds the row.
        max_rows: args.save.as_ref().map(|_| args.row.unwrap_or(0).saturating_add(1)),
        ..DatasetOptions::default()
    };
    Ok(open_source(&Source::from(&args.path), &Hub::from_env(), options, &columns)?.train)
}

pub(super) fn show(dataset: &dyn Dataset, out: &mut dyn Write) -> Result<()> {
    let columns = one_line(&dataset.columns().join(", "));
    writeln!(out, "{} rows, columns: {columns}", dataset.len()).map_err(on_output)?;
    for index in 0..dataset.len().min(SHOWN_ROWS) {
        let row = dataset.row(index)?;
        let size = |picture: &Picture| match picture.open() {
            Ok(picture) => format!("{}x{}", picture.width(), picture.height()),
            Err(error) => error.to_string(),
        };
        let sizes = [size(&row.image), size(&row.conditioning_image)];
        // Captions and names of files may hold anything; a line is a line.
        let line = format!("row {index}: image {}, control {}: {}", sizes[0], sizes[1], row.captions.join(" | "));
        writeln!(out, "{}", one_line(&line)).map_err(on_output)?;
    }
    Ok(())
}

pub(super) fn save_picture(dataset: &dyn Dataset, args: &InspectArgs, path: &Path) -> Result<()> {
    let index = args.row.unwrap_or(0);
    if index >= dataset.len() {
        let reason = format!("{index} is not there, the data set has {} rows, the first is 0", dataset.len());
        return Err(TrainError::setting("row", reason));
    }
    let row = dataset.row(index)?;
    let picture = match args.column {
        PictureColumn::Image => &row.image,
        PictureColumn::ConditioningImage => &row.conditioning_image,
    };
    picture.save(path).map_err(|error| TrainError::setting("save", format!("row {index}: {error}")))
}

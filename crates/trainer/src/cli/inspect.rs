//! `train_control_cogview4 inspect`: what is in weight files or in a data set.

mod rows;
mod weights;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Parser, ValueEnum};
use cogview4_data::DataError;

use crate::error::{Result, TrainError};

/// The flags of `inspect`.
#[derive(Debug, Clone, Parser)]
#[command(rename_all = "snake_case")]
pub struct InspectArgs {
    /// Weights (a safetensors file, the folder of a pipeline, a component or a checkpoint), a data set (a parquet or
    /// JSON lines file, a folder), or a name on the Hub
    pub path: PathBuf,
    /// Other weights, to compare with; the status is 1 where they differ
    pub other: Option<PathBuf>,
    /// Row that --save takes a picture of, the first is 0 [default: 0]
    #[arg(long, requires = "save")]
    pub row: Option<usize>,
    /// Write a picture of the row to this file, byte for byte where the extension is that of its format
    #[arg(long)]
    pub save: Option<PathBuf>,
    /// Which picture of the row is written
    #[arg(long, value_enum, default_value = "conditioning_image")]
    pub column: PictureColumn,
    /// Configuration of the data set
    #[arg(long)]
    pub dataset_config_name: Option<String>,
    /// Column of the pictures [default: image]
    #[arg(long)]
    pub image_column: Option<String>,
    /// Column of the control images [default: conditioning_image]
    #[arg(long)]
    pub conditioning_image_column: Option<String>,
    /// Column of the captions [default: text]
    #[arg(long)]
    pub caption_column: Option<String>,
}

/// A picture of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum PictureColumn {
    /// The picture to learn.
    Image,
    /// The control image.
    ConditioningImage,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspected {
    /// Number of tensors, of both sides together where two were compared.
    pub tensors: usize,
    /// Tensors that differ.
    pub differences: usize,
}

/// Writes to `out` what is in a file or folder, or how two sets of weights differ.
///
/// ```no_run
/// use clap::Parser;
/// use cogview4_trainer::cli::{InspectArgs, inspect};
///
/// let args = InspectArgs::try_parse_from(["inspect", "pose-control/checkpoint-500", "pose-control"])?;
/// let outcome = inspect(&args, &mut std::io::stdout())?;
/// println!("{} tensors differ", outcome.differences);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What is neither weights nor a data set, a broken file, a row that is not there, or a file that cannot be written.
pub fn inspect(args: &InspectArgs, out: &mut dyn Write) -> Result<Inspected> {
    let is_data = args.save.is_some() || args.dataset_config_name.is_some();
    let no_weights = |path: &Path| DataError::File { path: path.into(), reason: "holds no safetensors weights".into() };
    let found = if is_data { None } else { weights::open(&args.path)? };
    match (found, &args.other) {
        (Some(found), None) => weights::show(&found, out),
        (Some(found), Some(other)) => {
            let other = weights::open(other)?.ok_or_else(|| no_weights(other))?;
            weights::compare([&found, &other], out)
        }
        (None, Some(_)) => Err(no_weights(&args.path).into()),
        (None, None) => {
            let dataset = rows::open(args)?;
            match &args.save {
                Some(path) => rows::save_picture(&*dataset, args, path)?,
                None => rows::show(&*dataset, out)?,
            }
            Ok(Inspected::default())
        }
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn on_output(error: io::Error) -> TrainError {
    TrainError::io("standard output")(error)
}

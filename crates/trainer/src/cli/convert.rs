//! `train_control_cogview4 convert`: a model in another type or in other shards.

use std::path::PathBuf;

use clap::Parser;
use cogview4_cli::ByteSize;
use cogview4_control_pipeline::{convert as convert_model, fetch_model};
use cogview4_hub::{Hub, Source};
use cogview4_model::{ComputeDtype, weights::WeightFormat};

use crate::error::{Result, TrainError};

/// The flags of `convert`.
#[derive(Debug, Clone, Parser)]
#[command(rename_all = "snake_case")]
pub struct ConvertArgs {
    /// Folder of a pipeline, a component or a checkpoint, the output folder of a run, or a name on the Hub
    pub from: PathBuf,
    /// Folder to write; must not be there, or be empty
    pub to: PathBuf,
    /// Type of the weights: float32, bfloat16, or int8 for the matrices of blocks [default: each tensor's own]
    #[arg(long)]
    pub dtype: Option<String>,
    /// Weights are written in files of at most this size, such as 5GB or 8GiB [default: 10GB]
    #[arg(long)]
    pub max_shard_size: Option<ByteSize>,
}

/// Writes a model anew.
///
/// ```no_run
/// use clap::Parser;
/// use cogview4_trainer::cli::{ConvertArgs, convert};
///
/// let args = ConvertArgs::try_parse_from(["convert", "pose-control", "pose-control-bf16", "--dtype", "bfloat16"])?;
/// convert(&args)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A type that is not known, a folder without weights, or one that cannot be written.
pub fn convert(args: &ConvertArgs) -> Result<()> {
    let mut format = WeightFormat::default();
    match args.dtype.as_deref() {
        Some("int8") => format.int8 = true,
        Some(name) => {
            let dtype =
                name.parse::<ComputeDtype>().map_err(|error| TrainError::setting("dtype", error.to_string()))?;
            format.dtype = Some(dtype.dtype());
        }
        None => {}
    }
    if let Some(ByteSize(bytes)) = args.max_shard_size {
        // More than can be addressed is no limit.
        format.max_shard_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    let from = fetch_model(&Source::from(&args.from), &Hub::from_env())?;
    Ok(convert_model(&from, &args.to, format)?)
}

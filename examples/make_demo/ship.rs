//! The pipeline as it is embedded: bfloat16, in small files, with the base model's transformer beside the control
//! model's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use burn::{
    module::Module,
    tensor::{DType, Device},
};
use clap::Args;
use cogview4::model::{
    AutoencoderKl, CogView4Transformer, ModelError,
    weights::{cast_parameters, save_shards},
};

/// No file is larger.
const MAX_SHARD_BYTES: usize = 3_900_000;
const STEM: &str = "diffusion_pytorch_model";

#[derive(Debug, Args)]
#[command(rename_all = "snake_case")]
pub(crate) struct ShipArgs {
    /// Where to write
    #[arg(long, default_value = "assets/demo")]
    to: PathBuf,
    /// Folder of the control model [default: `finished`, beside `demo`]
    #[arg(long)]
    control: Option<PathBuf>,
}

pub(crate) fn ship(folder: &Path, args: &ShipArgs) -> Result<()> {
    let base = folder.join("demo");
    for component in ["scheduler", "text_encoder", "tokenizer"] {
        copy(&base.join(component), &args.to.join(component))?;
    }
    copy_file(&base.join("model_index.json"), &args.to.join("model_index.json"))?;
    let control = args.control.clone().unwrap_or_else(|| folder.join("finished"));
    sharded(AutoencoderKl::load, &base.join("vae"), &args.to.join("vae"))?;
    sharded(CogView4Transformer::load, &base.join("transformer"), &args.to.join("base_transformer"))?;
    sharded(CogView4Transformer::load, &control, &args.to.join("transformer"))?;
    copy_file(&control.join("training.svg"), &args.to.join("training.svg"))?;
    copy(&folder.join("drawings"), &args.to.join("drawings"))
}

fn sharded<M: Module>(load: fn(&Path, DType, &Device) -> Result<M, ModelError>, from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    copy_file(&from.join("config.json"), &to.join("config.json"))?;
    let model = load(from, DType::F32, &Device::flex())?;
    Ok(save_shards(&cast_parameters(model, DType::BF16), to, STEM, MAX_SHARD_BYTES)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        copy_file(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(|_| ()).with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

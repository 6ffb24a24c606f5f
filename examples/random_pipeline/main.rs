//! Writes a control pipeline in diffusers layout with random weights, of the sizes of the released CogView4-6B unless
//! flags say otherwise: real shapes, to see what a machine can do with them. What it draws is noise.
//!
//! `cargo run --release --example random_pipeline -- OUTPUT` writes 31.1 GB.

mod configs;
mod draw;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cogview4::model::{
    ComputeDtype,
    files::AtomicFolder,
    weights::{TensorSource, write_shards},
};
use cogview4_cli::{ByteSize, note, run_main};

use self::draw::Drawer;

/// Bytes beside the weights, at most: configurations, tokenizer, headers.
const SLACK: u64 = 16 << 20;

/// Write a pipeline with random weights.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Cli {
    /// The folder to write; nothing may be in it
    output: PathBuf,
    /// Number of blocks of the transformer
    #[arg(long, default_value_t = 28)]
    num_layers: usize,
    /// Number of layers of the text encoder
    #[arg(long, default_value_t = 40)]
    text_layers: usize,
    /// Width of the transformer, a multiple of 128
    #[arg(long, default_value_t = 4096)]
    width: usize,
    /// Width of the text encoder, a multiple of 128
    #[arg(long, default_value_t = 4096)]
    text_width: usize,
    /// Width of the autoencoder's first level, a multiple of 32
    #[arg(long, default_value_t = 128)]
    vae_width: usize,
    /// Number of tokens that the text encoder knows
    #[arg(long, default_value_t = 151_552)]
    vocab_size: usize,
    /// A base transformer, which takes no control image
    #[arg(long)]
    base: bool,
    /// Number type of the weights
    #[arg(long, default_value = "bfloat16")]
    dtype: ComputeDtype,
    /// Shards have at most so many bytes
    #[arg(long, default_value = "5GB")]
    max_shard_size: ByteSize,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    run_main(|cli: Cli| run(&cli))
}

fn run(cli: &Cli) -> Result<()> {
    cli.check()?;
    let folder = AtomicFolder::create(&cli.output)?;
    configs::write(cli, folder.path())?;
    let components = configs::read_components(folder.path())?;
    let dtype = cli.dtype.dtype();
    let values = |shape: &[usize]| shape.iter().map(|&side| side as u64).product::<u64>();
    let count: u64 = components.iter().flat_map(|part| &part.shapes).map(|(_, shape)| values(shape)).sum();
    let needed = count * dtype.size() as u64 + SLACK;
    let free = fs4::available_space(folder.path()).with_context(|| cli.output.display().to_string())?;
    ensure!(free >= needed, "{}: {needed} bytes are needed, {free} are free", cli.output.display());

    let drawer = &Drawer::new(cli.seed);
    let mut streams = 0_u64..;
    let max_shard_bytes = usize::try_from(cli.max_shard_size.0).unwrap_or(usize::MAX);
    for part in components {
        note(&format!("writing {}", part.name));
        let sources = part.shapes.iter().zip(&mut streams).map(|((key, shape), stream)| {
            let draw = move || drawer.draw(stream, key, shape, dtype);
            (key.clone(), TensorSource::new(dtype, shape.clone(), draw))
        });
        write_shards(sources.collect(), &folder.path().join(part.name), part.stem, max_shard_bytes)?;
    }
    folder.commit()?;
    note(&format!("wrote {}: {count} values", cli.output.display()));
    Ok(())
}

impl Cli {
    fn check(&self) -> Result<()> {
        for (flag, count) in [("--num_layers", self.num_layers), ("--text_layers", self.text_layers)] {
            ensure!((1..=1000).contains(&count), "{flag}: {count} is not from 1 to 1000");
        }
        for (flag, width, multiple) in [
            ("--width", self.width, configs::HEAD_DIM),
            ("--text_width", self.text_width, configs::HEAD_DIM),
            ("--vae_width", self.vae_width, configs::NORM_GROUPS),
        ] {
            let fits = width > 0 && width <= 1 << 20 && width.is_multiple_of(multiple);
            ensure!(fits, "{flag}: {width} is not a multiple of {multiple} from {multiple} to {}", 1 << 20);
        }
        let known = configs::tokens()?;
        ensure!(
            (known..=1 << 24).contains(&self.vocab_size),
            "--vocab_size: {} is not from {known}, what the tokenizer knows, to {}",
            self.vocab_size,
            1 << 24
        );
        Ok(())
    }
}

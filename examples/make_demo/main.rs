//! Makes the demo pipeline that is embedded: data, autoencoder, text encoder, transformers. `assets/demo/README.md` has
//! the command lines.

mod autoencoder;
mod base;
mod colour;
mod drawings;
mod emoji;
mod grid;
mod measure;
mod samples;
mod sheet;
mod ship;
mod text;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use cogview4::data::{Row, write_parquet};
use cogview4_cli::run_main;

/// Make the demo pipeline.
#[derive(Debug, Parser)]
#[command(rename_all = "snake_case")]
struct Cli {
    /// Folder of everything that is made
    #[arg(long, default_value = "target/demo")]
    folder: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
enum Command {
    /// Download drawings by npm, and write them as pairs with captions
    Data,
    /// Train the autoencoder
    Vae(autoencoder::VaeArgs),
    /// Train the tokenizer, and write a random text encoder and transformer
    Text,
    /// Train the base model
    Base(base::BaseArgs),
    /// Measure on drawings that no training saw
    Measure(measure::MeasureArgs),
    /// Write what is embedded, from base and control run
    Ship(ship::ShipArgs),
    /// Generate the picture of the README
    Grid(grid::GridArgs),
}

fn main() -> ExitCode {
    run_main(|cli: Cli| match cli.command {
        Command::Data => data(&cli.folder),
        Command::Vae(args) => autoencoder::train(&cli.folder, &args),
        Command::Text => text::write(&cli.folder),
        Command::Base(args) => base::train(&cli.folder, &args),
        Command::Measure(args) => measure::measure(&cli.folder, &args),
        Command::Ship(args) => ship::ship(&cli.folder, &args),
        Command::Grid(args) => grid::generate(&args),
    })
}

/// `data` to train on, with its held-out rows; `other` has the drawings of another hand, to measure with only.
fn data(folder: &std::path::Path) -> Result<()> {
    let downloads = folder.join("downloads");
    let [train, held_out] = emoji::rows(&emoji::drawings("google", &downloads)?)?;
    let other = emoji::drawings("twitter", &downloads)?;
    let other = other.iter().map(emoji::Drawing::plain).collect::<Result<Vec<_>>>()?;
    drawings::write(&held_out, folder)?;
    write(folder, "data/train.parquet", train)?;
    write(folder, "data/test.parquet", held_out)?;
    write(folder, "other/test.parquet", other)
}

fn write(folder: &std::path::Path, name: &str, rows: Vec<Row>) -> Result<()> {
    let path = folder.join(name);
    let parent = path.parent().context("a file in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    eprintln!("{}: {} rows", path.display(), rows.len());
    Ok(write_parquet(&path, rows.into_iter().map(Ok))?)
}

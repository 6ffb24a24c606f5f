//! Makes the demo pipeline that is embedded: data, autoencoder, text encoder, transformers. `assets/demo/README.md` has
//! the command lines.

mod autoencoder;
mod captions;
mod colour;
mod drawings;
mod icons;
mod measure;
mod pairs;
mod random;
mod samples;
#[path = "../demo_grid/sheet.rs"]
mod sheet;
mod ship;
mod speedrun;
mod text;
mod transformers;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use cogview4::data::{DataError, Row, write_parquet};
use cogview4_cli::run_main;

use crate::icons::{HANDS, OTHER_HAND};

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
    Base(transformers::TransformerArgs),
    /// Train the control model, from the base model on
    Control(transformers::TransformerArgs),
    /// Train the control model on, at half the rate
    Finish(transformers::TransformerArgs),
    /// Measure on drawings that no training saw
    Measure(measure::MeasureArgs),
    /// Write what is embedded, from base and control run
    Ship(ship::ShipArgs),
    /// Do all of it that is not done yet, measure, and say how long it took
    Speedrun(speedrun::SpeedrunArgs),
}

fn main() -> ExitCode {
    run_main(|cli: Cli| match cli.command {
        Command::Data => data(&cli.folder),
        Command::Vae(args) => autoencoder::train(&cli.folder, &args),
        Command::Text => text::write(&cli.folder),
        Command::Base(args) => transformers::base(&cli.folder, &args),
        Command::Control(args) => transformers::control(&cli.folder, &args),
        Command::Finish(args) => transformers::finish(&cli.folder, &args),
        Command::Measure(args) => measure::measure(&cli.folder, &args),
        Command::Ship(args) => ship::ship(&cli.folder, &args),
        Command::Speedrun(args) => speedrun::run(&cli.folder, &args),
    })
}

/// `data` to train on, with its held-out rows; `other` has the drawings of another hand, to measure with only.
fn data(folder: &Path) -> Result<()> {
    let downloads = folder.join("downloads");
    let mut icons = Vec::new();
    for hand in &HANDS {
        icons.extend(icons::icons(hand, &downloads)?);
    }
    icons.sort_by(|a, b| a.name.cmp(&b.name));
    let held_out = pairs::held_out(&icons);
    let (held_out, train): (Vec<_>, Vec<_>) = icons.iter().partition(|icon| held_out.contains(icon.name.as_str()));
    let other = icons::icons(&OTHER_HAND, &downloads)?;
    drawings::write(&held_out, folder)?;
    write(folder, "data/test.parquet", pairs::plain_rows(&held_out))?;
    write(folder, "other/test.parquet", pairs::strangers_rows(&other.iter().collect::<Vec<_>>()))?;
    write(folder, "data/train.parquet", pairs::training_rows(&train))
}

fn write(folder: &Path, name: &str, rows: impl Iterator<Item = Result<Row, DataError>>) -> Result<()> {
    let path = folder.join(name);
    let parent = path.parent().context("a file in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let mut count = 0;
    write_parquet(&path, rows.inspect(|_| count += 1))?;
    eprintln!("{}: {count} rows", path.display());
    Ok(())
}

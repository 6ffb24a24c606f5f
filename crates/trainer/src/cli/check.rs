//! `train_control_cogview4 check`: every pair is looked at before any training.

use std::io::Write;

use cogview4_cli::safe_line;
use cogview4_control_pipeline::{Component, progress_bar};
use cogview4_data::lint::{CountTokens, LintOptions, LintReport, lint};
use cogview4_model::files::{check_writable, write_atomic};

use super::Args;
use crate::{
    error::{Result, TrainError, make_folder},
    page::lint_page,
};

/// Looks at the data set of a command line. Writes the table to `table` and the page to `check.html` in the output
/// folder. Without a pipeline, lengths of captions are not looked at.
///
/// ```no_run
/// use clap::Parser;
/// use cogview4_trainer::cli::{Args, check};
///
/// let args = Args::try_parse_from(["check", "--dataset_name", "my-pairs"])?;
/// let report = check(args, &mut std::io::stdout())?;
/// println!("{} rows have findings", report.bad_rows());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Flags that are out of range, a data set that cannot be opened, or files that cannot be written.
pub fn check(args: Args, table: &mut dyn Write) -> Result<LintReport> {
    let data = args.data()?;
    let tokenizer = match args.pretrained_model_name_or_path {
        Some(_) => Some(args.pipeline()?.fetch(&[Component::Tokenizer])?.load_tokenizer()?),
        None => None,
    };
    let config = args.config()?;
    config.check()?;
    let data = data.open()?.train;
    let page = config.output_dir.join("check.html");
    make_folder("output_dir", &config.output_dir)?;
    check_writable(&page)?;
    let count =
        tokenizer.map(|tokenizer| move |caption: &str| tokenizer.count(caption).map_err(|error| error.to_string()));
    let options = LintOptions {
        resolution: config.recipe.resolution,
        max_sequence_length: config.recipe.max_sequence_length,
        count_tokens: count.as_ref().map(|count| count as CountTokens<'_>),
    };
    let progress = progress_bar("checking", data.len(), 0, config.progress_bar);
    let report = lint(&*data, options, |rows| progress.inc(rows as u64));
    progress.finish_and_clear();
    write_atomic(&page, lint_page(&report, &*data).as_bytes())?;
    // Details may hold anything that the rows hold; a line is a line.
    let lines = format!("{report}\nsee {}", page.display());
    lines
        .lines()
        .try_for_each(|line| writeln!(table, "{}", safe_line(line)))
        .map_err(TrainError::io("standard output"))?;
    Ok(report)
}

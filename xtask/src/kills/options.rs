//! What `cargo xtask kills` is told.

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context, Result, bail};

/// How many kills, of which kind.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// Kills that the file of results has at the end, those of earlier calls among them.
    pub kills: usize,
    /// Whether each is a loss of power.
    pub power: bool,
    /// The file of results.
    pub out: Option<PathBuf>,
    pub seed: u64,
    /// No attempt begins after so long.
    pub minutes: Option<f64>,
}

impl Options {
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        let mut kills = None;
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--power" => options.power = true,
                "--out" => options.out = Some(value(&argument, given.next())?),
                "--seed" => options.seed = value(&argument, given.next())?,
                "--minutes" => options.minutes = Some(value(&argument, given.next())?),
                flag if flag.starts_with('-') => bail!("there is no flag {flag}"),
                _ if kills.is_some() => bail!("{argument} is one word too many"),
                _ => kills = Some(value("N", Some(argument))?),
            }
        }
        options.kills = kills.context("how many kills?")?;
        Ok(options)
    }
}

fn value<T: FromStr>(name: &str, given: Option<String>) -> Result<T> {
    let given = given.with_context(|| format!("{name} has no value"))?;
    given.parse().ok().with_context(|| format!("{name} cannot be `{given}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_or_refused() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(String::from));
        let given = parse("40 --power --out a.jsonl --seed 3 --minutes 0.5").unwrap();
        let out = Some("a.jsonl".into());
        assert_eq!(given, Options { kills: 40, power: true, out, seed: 3, minutes: Some(0.5) });
        assert_eq!(parse("7").unwrap(), Options { kills: 7, ..Options::default() });
        for wrong in ["", "many", "3 4", "3 --seed", "3 --seed x", "3 --force"] {
            parse(wrong).unwrap_err();
        }
    }
}

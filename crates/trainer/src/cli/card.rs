//! What a command line says to the model card.

use std::{ffi::OsString, path::PathBuf};

use cogview4_hub::Source;

use super::Args;
use crate::config::{CardConfig, shown_location};

/// Flags whose values are secret; they are left out with them.
const SECRET: [&str; 1] = ["--hub_token"];
/// Tokens of the Hub begin so, wherever they stand, and have at least this many characters.
const TOKEN: &str = "hf_";
const TOKEN_LENGTH: usize = 16;
/// What a shell takes as it is.
const PLAIN: &str = "-_=+:,./@%";

impl Args {
    /// The names among what is given.
    pub(super) fn card(&self) -> CardConfig {
        let name = |given: &Option<PathBuf>| Some(Source::from(given.as_ref()?).repo_id()?.to_string());
        CardConfig {
            base_model: name(&self.pretrained_model_name_or_path),
            dataset: name(&self.dataset_name),
            hub_model_id: self.hub_model_id.clone(),
            command_line: None,
        }
    }
}

/// A command line to be read and repeated, one flag a line; without secrets, and without where things lie here.
pub(super) fn command_line(arguments: impl IntoIterator<Item = OsString>) -> String {
    let mut line = String::from("train_control_cogview4");
    let mut is_secret = false;
    for argument in arguments.into_iter().skip(1) {
        let argument = argument.to_string_lossy();
        let flag = argument.split('=').next().unwrap_or_default();
        if std::mem::take(&mut is_secret) {
            continue;
        }
        if SECRET.contains(&flag) {
            is_secret = flag == argument;
            continue;
        }
        line.push_str(if argument.starts_with("--") { " \\\n    " } else { " " });
        line.push_str(&quoted(&without_secrets(&argument)));
    }
    line
}

/// URLs without what may be secret in them, and nothing that looks like a token.
fn without_secrets(argument: &str) -> String {
    let (flag, value) = match argument.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (format!("{flag}="), value),
        _ => (String::new(), argument),
    };
    let words = value.split_inclusive(char::is_whitespace).map(|word| {
        let (word, space) = word.split_at(word.trim_end().len());
        without_tokens(&shown_location(word)) + space
    });
    flag + &words.collect::<String>()
}

fn without_tokens(word: &str) -> String {
    let (mut clean, mut rest) = (String::new(), word);
    while let Some(at) = rest.find(TOKEN) {
        let (before, token) = rest.split_at(at);
        let end = TOKEN.len() + token[TOKEN.len()..].bytes().take_while(u8::is_ascii_alphanumeric).count();
        clean.push_str(before);
        clean.push_str(if end >= TOKEN_LENGTH { "hf_***" } else { &token[..end] });
        rest = &token[end..];
    }
    clean + rest
}

/// As a shell reads it.
fn quoted(argument: &str) -> String {
    if argument.chars().any(char::is_control) {
        let escape = |character: char| match character {
            '\\' | '\'' => format!("\\{character}"),
            '\n' => "\\n".into(),
            '\t' => "\\t".into(),
            _ if character.is_control() => format!("\\u{:04x}", u32::from(character)),
            _ => character.into(),
        };
        return format!("$'{}'", argument.chars().map(escape).collect::<String>());
    }
    let is_plain = |character: char| character.is_ascii_alphanumeric() || PLAIN.contains(character);
    match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument.into(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(arguments: &[&str]) -> String {
        command_line(arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_command_line_can_be_repeated_and_holds_no_secrets() {
        let found = line(&[
            "/home/someone/train_control_cogview4",
            "--hub_token",
            "secret",
            "--hub_token=secret",
            "--seed",
            "0",
            "--validation_prompt",
            "it's a \"fox\"",
            "two\nlines",
            "--validation_image",
            "https://me:secret@example.org/a.png?key=secret",
            "--output_dir=hf_abcdefghijklmnopqrst",
        ]);
        let expected = "train_control_cogview4 \\\n    --seed 0 \\\n    --validation_prompt 'it'\\''s a \"fox\"' \
             $'two\\nlines' \\\n    --validation_image https://example.org/a.png \\\n    --output_dir='hf_***'";
        assert_eq!(found.replace("'--output_dir=hf_***'", "--output_dir='hf_***'"), expected);
        assert_eq!(
            line(&["x", "--validation_image=http://a:b@c.d/e?f", "hf_short"]).replace(" \\\n    ", " "),
            "train_control_cogview4 --validation_image=http://c.d/e hf_short"
        );
    }
}

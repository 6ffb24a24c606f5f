//! What the command lines of this workspace have in common: an error is one line on standard error, sizes have units.

mod size;

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use clap::Parser;

pub use size::ByteSize;

/// Longer messages are cut to this many characters.
const MAX_CHARS: usize = 500;
/// Stands where a message was cut.
const CUT: &str = "...";

/// Parses the command line and runs a program with it. An error, of the command line or of the program, is printed
/// as one line `error: ...` and gives a non-zero exit status.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// #[derive(clap::Parser)]
/// struct Cli {
///     /// Number of steps
///     #[arg(long)]
///     steps: usize,
/// }
///
/// fn main() -> ExitCode {
///     cogview4_cli::run_main(|cli: Cli| {
///         anyhow::ensure!(cli.steps > 0, "--steps: must be at least 1");
///         Ok(())
///     })
/// }
/// ```
pub fn run_main<C: Parser>(run: impl FnOnce(C) -> anyhow::Result<()>) -> ExitCode {
    let cli = match C::try_parse() {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => help.exit(),
        Err(error) => return fail(error.to_string().split("\n\n").next().unwrap_or_default()),
    };
    run(cli).map_or_else(|error| fail(&format!("error: {error:#}")), |()| ExitCode::SUCCESS)
}

fn fail(message: &str) -> ExitCode {
    note(message);
    ExitCode::FAILURE
}

/// Prints a message on standard error as [`one_line`].
pub fn note(message: &str) {
    // Where nobody listens any more, what was done is done all the same, and the exit status tells.
    let _ = writeln!(stderr(), "{}", one_line(message));
}

/// A message as one line that is safe to print: white space becomes single spaces, control characters are escaped (they
/// could come from a file and would reach the terminal), and what is too long is cut.
///
/// ```
/// assert_eq!(cogview4_cli::one_line("error: a\n  b\u{1b}[2J"), r"error: a b\u{1b}[2J");
/// ```
pub fn one_line(message: &str) -> String {
    // No more is looked at than can be shown: a message may be a file's content.
    let words: Vec<&str> = message.split_whitespace().take(MAX_CHARS).collect();
    safe_line(&words.join(" "))
}

/// A line of a table as it is safe to print: control characters are escaped, and what is too long is cut; spaces stay.
///
/// ```
/// assert_eq!(cogview4_cli::safe_line("a   b\u{1b}[2J"), r"a   b\u{1b}[2J");
/// ```
pub fn safe_line(line: &str) -> String {
    let mut safe = String::new();
    for character in line.chars().take(MAX_CHARS + 1) {
        match character.is_control() || is_direction(character) {
            true => safe.extend(character.escape_default()),
            false => safe.push(character),
        }
    }
    if safe.chars().nth(MAX_CHARS).is_some() {
        safe = safe.chars().take(MAX_CHARS - CUT.len()).chain(CUT.chars()).collect();
    }
    safe
}

/// Whether a character changes the direction of what follows, so that a line reads as another than it is.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_becomes_single_spaces() {
        assert_eq!(one_line("error: no\n\n  such\tfile\r\n"), "error: no such file");
        assert_eq!(one_line(""), "");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(one_line("\u{1b}]0;title\u{7}"), r"\u{1b}]0;title\u{7}");
        assert_eq!(one_line("\u{9b}2J\0\u{7f}"), r"\u{9b}2J\u{0}\u{7f}");
        assert_eq!(one_line("a\u{202e}gnp.exe"), r"a\u{202e}gnp.exe");
        assert_eq!(one_line("pé 雪 \\ '"), "pé 雪 \\ '");
    }

    #[test]
    fn long_messages_are_cut() {
        let whole = "ü".repeat(MAX_CHARS);
        assert_eq!(one_line(&whole), whole);
        for long in [whole + "x", "\0".repeat(1 << 20)] {
            let line = one_line(&long);
            assert_eq!(line.chars().count(), MAX_CHARS);
            assert!(line.ends_with(CUT));
        }
    }
}

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
    let mut line = String::new();
    for (index, word) in message.split_whitespace().enumerate() {
        if index > 0 {
            line.push(' ');
        }
        for character in word.chars() {
            match character.is_control() {
                true => line.extend(character.escape_default()),
                false => line.push(character),
            }
        }
    }
    if line.chars().nth(MAX_CHARS).is_some() {
        line = line.chars().take(MAX_CHARS - CUT.len()).chain(CUT.chars()).collect();
    }
    line
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

//! How far downloads and uploads are: told to whoever asks, or drawn on the terminal.

use std::{
    any::Any,
    fmt::Debug,
    io::{IsTerminal, Write, stderr},
    sync::{Mutex, PoisonError},
};

use indicatif::{ProgressBar, ProgressStyle};

/// What is told about downloads and uploads. All sizes are in bytes and stand for all files together.
pub trait Progress: Debug + Send + Sync {
    /// Work begins: `total` bytes, of which `done` are there from an earlier run.
    fn begin(&self, _what: &str, _total: u64, _done: u64) {}
    /// That many more bytes are there.
    fn advance(&self, _bytes: u64) {}
    /// That many bytes were thrown away, and come again.
    fn lose(&self, _bytes: u64) {}
    /// One line for the user: a wait, another try.
    fn note(&self, _line: &str) {}
    /// Work is over, well or not.
    fn end(&self) {}
    /// Something may be waited for: a server, another process, another try. It lasts until what is given back is
    /// dropped; a program that is to stop may end meanwhile, as all that is written then survives a kill.
    fn waiting(&self) -> Box<dyn Any> {
        Box::new(())
    }
}

/// Says nothing.
#[derive(Debug)]
pub(crate) struct Silent;

impl Progress for Silent {}

/// One bar for all files on standard error, with rate and time left, where that is a terminal; notes as lines there,
/// terminal or not.
#[derive(Debug, Default)]
pub struct TerminalProgress {
    bar: Mutex<Option<ProgressBar>>,
}

impl TerminalProgress {
    fn with_bar(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self.bar.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for TerminalProgress {
    fn begin(&self, what: &str, total: u64, done: u64) {
        const TEMPLATE: &str = "{msg} {percent:>3}%|{bar:40}| {bytes}/{total_bytes} [{elapsed}<{eta}, {bytes_per_sec}]";
        if !stderr().is_terminal() {
            return;
        }
        let style = ProgressStyle::with_template(TEMPLATE).expect("invariant: the template is valid");
        let bar = ProgressBar::new(total).with_style(style).with_message(what.to_owned());
        bar.set_position(done);
        bar.reset_eta();
        self.with_bar(|place| *place = Some(bar));
    }

    fn advance(&self, bytes: u64) {
        self.with_bar(|bar| bar.iter().for_each(|bar| bar.inc(bytes)));
    }

    fn lose(&self, bytes: u64) {
        self.with_bar(|bar| bar.iter().for_each(|bar| bar.dec(bytes)));
    }

    fn note(&self, line: &str) {
        self.with_bar(|bar| match bar {
            Some(bar) => bar.println(line),
            // Where nobody listens any more, work goes on.
            None => drop(writeln!(stderr(), "{line}")),
        });
    }

    fn end(&self) {
        self.with_bar(|bar| bar.take().iter().for_each(ProgressBar::abandon));
    }
}

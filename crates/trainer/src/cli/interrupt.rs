//! Downloads and uploads that a signal ends at once.

use cogview4_hub::{Progress, TerminalProgress};

use crate::stop::StopFlag;

/// The status of a program that an interrupt ended.
pub(super) const INTERRUPTED: i32 = 130;

/// Shows downloads and uploads on the terminal, and ends the program in the middle of one when it is to stop: there is no run yet
/// that would have to be saved, and what came stays for the next time.
#[derive(Debug)]
pub(super) struct StoppableProgress {
    shown: TerminalProgress,
    stop: StopFlag,
    last_words: Option<String>,
}

impl StoppableProgress {
    pub(super) fn new(stop: StopFlag) -> Self {
        Self { shown: TerminalProgress::default(), stop, last_words: None }
    }

    /// What is said before the program ends.
    pub(super) fn with_last_words(mut self, words: String) -> Self {
        self.last_words = Some(words);
        self
    }

    fn end_if_asked(&self) {
        if self.stop.is_requested() {
            self.shown.end();
            self.last_words.iter().for_each(|words| cogview4_cli::note(words));
            std::process::exit(INTERRUPTED);
        }
    }
}

impl Progress for StoppableProgress {
    fn begin(&self, what: &str, total: u64, done: u64) {
        self.end_if_asked();
        self.shown.begin(what, total, done);
    }

    fn advance(&self, bytes: u64) {
        self.end_if_asked();
        self.shown.advance(bytes);
    }

    fn lose(&self, bytes: u64) {
        self.end_if_asked();
        self.shown.lose(bytes);
    }

    fn note(&self, line: &str) {
        self.end_if_asked();
        self.shown.note(line);
    }

    fn end(&self) {
        self.shown.end();
    }
}

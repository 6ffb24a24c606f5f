//! Downloads and uploads that a signal ends at once.

use std::{
    any::Any,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use cogview4_hub::{Progress, TerminalProgress};

use crate::stop::StopFlag;

/// The status of a program that an interrupt ended.
pub(super) const INTERRUPTED: i32 = 130;
/// How often somebody looks whether the program is to stop.
const TICK: Duration = Duration::from_millis(50);

/// What is said when the program ends while it waits.
const LAST_LINE: &str = "error: stopped while downloading, before training began: what came is kept for the next time";

/// Shows downloads on the terminal, and ends the program while it waits for one when it is to stop: there is no run yet
/// that would have to be saved.
#[derive(Debug)]
pub(super) struct StoppableProgress {
    shown: Arc<TerminalProgress>,
    stop: StopFlag,
}

impl StoppableProgress {
    pub(super) fn new(stop: StopFlag) -> Self {
        Self { shown: Arc::default(), stop }
    }
}

impl Progress for StoppableProgress {
    fn begin(&self, what: &str, total: u64, done: u64) {
        self.shown.begin(what, total, done);
    }

    fn advance(&self, bytes: u64) {
        self.shown.advance(bytes);
    }

    fn lose(&self, bytes: u64) {
        self.shown.lose(bytes);
    }

    fn note(&self, line: &str) {
        self.shown.note(line);
    }

    fn end(&self) {
        self.shown.end();
    }

    fn waiting(&self) -> Box<dyn Any> {
        Box::new(end_when_asked(self.stop.clone(), Arc::clone(&self.shown), LAST_LINE.into()))
    }
}

/// Ends the program with a last line as soon as it is to stop, also while it waits for an answer, until the sender is
/// dropped.
pub(super) fn end_when_asked(stop: StopFlag, shown: Arc<TerminalProgress>, last_line: String) -> Sender<()> {
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        while is_done.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            if stop.is_requested() {
                shown.end();
                cogview4_cli::note(&last_line);
                std::process::exit(INTERRUPTED);
            }
        }
    });
    done
}

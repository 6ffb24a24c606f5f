//! The deadline of collectives: one that lasts too long will never end, since a process or a link is gone.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use super::transport::Transport;

/// How often somebody looks at the clock.
const TICK: Duration = Duration::from_millis(200);

/// What the communicating thread does, and since when.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    what: String,
    since: Option<Instant>,
}

impl Watch {
    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names what the next collectives are for.
    pub(super) fn name(&self, what: &str) {
        self.with(|state| what.clone_into(&mut state.what));
    }

    /// Calls `late` with a line on the collective that lasts longer than `limit`, as long as there is a group.
    pub(super) fn start(watch: &Arc<Self>, limit: Duration, late: impl FnOnce(String) + Send + 'static) {
        let watch: Weak<Self> = Arc::downgrade(watch);
        let look = move || {
            let late_by = |watch: &Arc<Self>| {
                watch.with(|state| state.since.filter(|since| since.elapsed() > limit).map(|_| state.what.clone()))
            };
            while let Some(watch) = watch.upgrade() {
                if let Some(what) = late_by(&watch) {
                    let seconds = limit.as_secs_f64();
                    return late(format!(
                        "collective_timeout: {what}: no end after {seconds} s, a process or a link is gone"
                    ));
                }
                drop(watch);
                thread::sleep(TICK);
            }
        };
        // Without this thread a group still works, it only waits for ever where something is gone.
        let _ = thread::Builder::new().name("watch".into()).spawn(look);
    }
}

/// An engine whose calls are watched.
pub(super) struct Watched<'a> {
    pub engine: Box<dyn Transport>,
    pub watch: &'a Watch,
}

impl Watched<'_> {
    fn timed(&mut self, call: impl FnOnce(&mut dyn Transport)) {
        self.watch.with(|state| state.since = Some(Instant::now()));
        call(self.engine.as_mut());
        self.watch.with(|state| state.since = None);
    }
}

impl Transport for Watched<'_> {
    fn place(&self) -> (usize, usize) {
        self.engine.place()
    }

    fn all_to_all(&mut self, send: &[u8], counts: &[usize], receive: &mut [u8], received: &[usize]) {
        self.timed(|engine| engine.all_to_all(send, counts, receive, received));
    }

    fn all_gather(&mut self, part: &[u8], all: &mut [u8], counts: &[usize]) {
        self.timed(|engine| engine.all_gather(part, all, counts));
    }
}

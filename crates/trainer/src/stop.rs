//! Asking a run to stop, from a signal handler or another thread.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A flag that a run and its owner share; copies are the same flag.
///
/// ```
/// use cogview4_trainer::StopFlag;
///
/// let stop = StopFlag::default();
/// let handle = stop.clone();
/// handle.request();
/// assert!(stop.is_requested());
/// ```
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks the run to finish its step, write a checkpoint and return.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes this signal as the wish, too.
    #[cfg(feature = "mpi")]
    pub(crate) fn on_signal(&self, signal: i32) -> std::io::Result<()> {
        signal_hook::flag::register(signal, Arc::clone(&self.0)).map(drop)
    }

    /// Whether that was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

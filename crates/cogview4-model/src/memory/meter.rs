//! The most memory that was held, by looking again and again.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::Held;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Meters that one thread serves; it runs while there are some.
static METERS: Mutex<Vec<Weak<Peaks>>> = Mutex::new(Vec::new());

/// The most anonymous memory that this process holds while the meter is there: the kernel keeps a peak only of all
/// memory, mapped files among it. A thread looks about a hundred times a second, one for all meters, and ends with the
/// last of them.
///
/// ```
/// use cogview4_model::memory::MemoryMeter;
///
/// let meter = MemoryMeter::start();
/// let bytes = vec![1_u8; 100 << 20];
/// assert!(meter.peak() >= bytes.len() as u64 || !cfg!(target_os = "linux"));
/// ```
#[derive(Debug)]
#[must_use = "it measures as long as it is there"]
pub struct MemoryMeter {
    peaks: Arc<Peaks>,
}

#[derive(Debug, Default)]
struct Peaks {
    anonymous: AtomicU64,
    mapped: AtomicU64,
}

impl Peaks {
    fn look(&self, held: Held) {
        self.anonymous.fetch_max(held.anonymous, Relaxed);
        self.mapped.fetch_max(held.mapped, Relaxed);
    }
}

impl MemoryMeter {
    /// Begins to look.
    pub fn start() -> Self {
        let peaks = Arc::new(Peaks::default());
        peaks.look(Held::now());
        let mut meters = METERS.lock().unwrap_or_else(PoisonError::into_inner);
        meters.push(Arc::downgrade(&peaks));
        if meters.len() == 1 {
            // Without the thread, what is looked at is what the callers of `peak` see.
            let _ = thread::Builder::new().name("memory meter".into()).spawn(look_for_all);
        }
        Self { peaks }
    }

    /// The most bytes of anonymous memory so far; 0 where the system does not tell.
    pub fn peak(&self) -> u64 {
        self.peaks.look(Held::now());
        self.peaks.anonymous.load(Relaxed)
    }

    /// The most bytes of mapped files and shared memory so far; 0 where the system does not tell.
    pub fn peak_mapped(&self) -> u64 {
        self.peaks.look(Held::now());
        self.peaks.mapped.load(Relaxed)
    }
}

fn look_for_all() {
    loop {
        thread::sleep(INTERVAL);
        let held = Held::now();
        let mut meters = METERS.lock().unwrap_or_else(PoisonError::into_inner);
        meters.retain(|meter| meter.upgrade().map(|peaks| peaks.look(held)).is_some());
        // Under the lock: a meter that is started now finds none, and starts a thread.
        if meters.is_empty() {
            return;
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const BYTES: usize = 96 << 20;

    #[test]
    fn what_is_gone_again_was_seen_by_those_who_looked() {
        let first = MemoryMeter::start();
        let before = first.peak();
        let block = vec![1_u8; BYTES];
        let with_block = Held::now().anonymous;
        thread::sleep(INTERVAL * 20);
        drop(std::hint::black_box(block));
        let second = MemoryMeter::start();
        // Nobody asked while the block was there.
        assert!(
            first.peak() >= (with_block - BYTES as u64 / 2).max(before + BYTES as u64 / 2),
            "{before} {with_block} {}",
            first.peak()
        );
        drop(first);
        let more = vec![1_u8; BYTES];
        let seen = Held::now().anonymous;
        thread::sleep(INTERVAL * 20);
        drop(std::hint::black_box(more));
        // Other tests take and give back meanwhile.
        assert!(
            second.peak() >= seen - BYTES as u64 / 2,
            "the thread looks on for the second: {seen} {}",
            second.peak()
        );
    }
}

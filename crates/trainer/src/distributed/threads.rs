//! Threads of one process as a group: several devices of a machine, each with a thread, without another engine.

use std::{
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
};

use super::{Group, transport::Transport};
use crate::error::Result;

/// What the threads share: what each sends.
struct Shared {
    sent: Mutex<Vec<Vec<u8>>>,
    barrier: Barrier,
}

struct Local {
    rank: usize,
    shared: Arc<Shared>,
}

impl Local {
    /// Sends, waits for all, reads, and waits until all have read.
    fn exchange(&self, send: &[u8], read: impl FnOnce(&[Vec<u8>])) {
        let sent = || self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent()[self.rank] = send.to_vec();
        self.shared.barrier.wait();
        let all = sent().clone();
        self.shared.barrier.wait();
        read(&all);
    }
}

impl Transport for Local {
    fn place(&self) -> (usize, usize) {
        (self.rank, self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    fn all_to_all(&mut self, send: &[u8], counts: &[usize], receive: &mut [u8], received: &[usize]) {
        let (rank, _) = self.place();
        let mut message = Vec::new();
        counts.iter().for_each(|&count| message.extend((count as u64).to_le_bytes()));
        message.extend(send);
        self.exchange(&message, |all| {
            let (mut end, size) = (0, all.len());
            for (from, &expected) in all.iter().zip(received) {
                let (lengths, values) = from.split_at(size * size_of::<u64>());
                let lengths: Vec<usize> =
                    lengths.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes) as usize).collect();
                let start: usize = lengths[..rank].iter().sum();
                assert_eq!(lengths[rank], expected, "what is sent is what is expected");
                receive[end..end + expected].copy_from_slice(&values[start..start + expected]);
                end += expected;
            }
        });
    }

    fn all_gather(&mut self, part: &[u8], all: &mut [u8], counts: &[usize]) {
        self.exchange(part, |sent| {
            assert!(sent.iter().map(Vec::len).eq(counts.iter().copied()), "what is sent is what is expected");
            all.copy_from_slice(&sent.concat());
        });
    }
}

impl Group {
    /// A group of so many threads of this process, one view for each of them.
    ///
    /// ```
    /// use cogview4_trainer::Group;
    ///
    /// let groups = Group::threads(2)?;
    /// assert_eq!(groups.iter().map(Group::rank).collect::<Vec<_>>(), [0, 1]);
    /// # Ok::<(), cogview4_trainer::TrainError>(())
    /// ```
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn threads(size: usize) -> Result<Vec<Self>> {
        let shared = Arc::new(Shared { sent: Mutex::new(vec![Vec::new(); size]), barrier: Barrier::new(size) });
        let start = |rank: usize| {
            let shared = Arc::clone(&shared);
            let engine = move || Ok(Box::new(Local { rank, shared }) as Box<dyn Transport>);
            Group::start(engine, |status| std::process::exit(status), super::DEFAULT_TIMEOUT)
        };
        // Each waits for the others, so all have to start at the same time.
        thread::scope(|scope| {
            let starts: Vec<_> = (0..size)
                .map(|rank| {
                    scope.spawn({
                        let start = &start;
                        move || start(rank)
                    })
                })
                .collect();
            starts.into_iter().map(|start| start.join().expect("invariant: starting does not panic")).collect()
        })
    }
}

//! Threads of one process as a group: several devices of a machine, each with a thread, without another engine.

use std::{
    sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::{Group, transport::Transport};
use crate::error::Result;

/// What the threads share.
struct Shared {
    /// What each sends: a part for each thread, or one for all.
    sent: Mutex<Vec<Vec<Vec<u8>>>>,
    barrier: Barrier,
}

struct Local {
    rank: usize,
    shared: Arc<Shared>,
}

impl Local {
    fn sent(&self) -> MutexGuard<'_, Vec<Vec<Vec<u8>>>> {
        self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends, waits for all, reads, and waits until all have read.
    fn exchange<'a>(&self, parts: Vec<Vec<u8>>, number: usize, mut receive: &'a mut [u8], counts: &[usize]) {
        self.sent()[self.rank] = parts;
        self.shared.barrier.wait();
        for (from, &count) in self.sent().iter().zip(counts) {
            let (own, rest): (&'a mut [u8], &'a mut [u8]) = receive.split_at_mut(count);
            own.copy_from_slice(&from[number]);
            receive = rest;
        }
        self.shared.barrier.wait();
    }
}

impl Transport for Local {
    fn place(&self) -> (usize, usize) {
        (self.rank, self.sent().len())
    }

    fn all_to_all(&mut self, mut send: &[u8], counts: &[usize], receive: &mut [u8], received: &[usize]) {
        let part = |&count: &usize| {
            let (part, rest) = send.split_at(count);
            send = rest;
            part.to_vec()
        };
        self.exchange(counts.iter().map(part).collect(), self.rank, receive, received);
    }

    fn all_gather(&mut self, part: &[u8], all: &mut [u8], counts: &[usize]) {
        self.exchange(vec![part.to_vec()], 0, all, counts);
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

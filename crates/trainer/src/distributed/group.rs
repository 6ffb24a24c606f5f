//! The processes of a run, as one of them sees them. All communication is done by one thread, in the order in which it
//! is asked for, so that the training thread can go on meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    buffers::Buffers,
    host::{end, host},
    transport::{Transport, gather, gather_equal},
    watch::{Watch, Watched},
};
use crate::error::{Result, TrainError};

/// Something that the communicating thread does.
type Job = Box<dyn FnOnce(&mut dyn Transport) + Send>;

/// The processes that train together, of which this is one; a process that is alone is a group too. Copies are the
/// same group.
///
/// ```
/// use cogview4_trainer::Group;
///
/// let group = Group::alone();
/// assert_eq!((group.rank(), group.size()), (0, 1));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Group(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    place: Place,
    /// There until the end, as is the thread that does them.
    jobs: Option<Sender<NamedJob>>,
    thread: Option<JoinHandle<()>>,
    /// Ends all processes, of this one with the status.
    abort: fn(i32),
    /// Whether all processes know of the error that this one ends with.
    is_agreed: AtomicBool,
    /// Whether this one only ends because another does, which tells why.
    is_told: AtomicBool,
    buffers: Buffers,
}

#[derive(Debug, Clone)]
struct Place {
    rank: usize,
    size: usize,
    hosts: Vec<String>,
}

impl Place {
    /// How many of the first processes are on this machine.
    fn on_this_machine(&self, first: usize) -> usize {
        self.hosts[..first].iter().filter(|host| **host == self.hosts[self.rank]).count()
    }
}

struct NamedJob {
    what: String,
    job: Job,
}

/// What a job will give.
#[derive(Debug)]
pub(crate) struct Pending<R>(Receiver<R>);

impl<R> Pending<R> {
    /// Waits for it.
    pub(crate) fn wait(self) -> R {
        self.0.recv().expect("invariant: the communicating thread lives as long as its group")
    }
}

impl Group {
    /// A process that trains alone.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Starts the thread that communicates with an engine, which is made in it. `abort` ends every process, and is called
    /// when a collective lasts longer than `limit`.
    pub(super) fn start(
        engine: impl FnOnce() -> Result<Box<dyn Transport>> + Send + 'static,
        abort: fn(i32),
        limit: Duration,
    ) -> Result<Self> {
        let (jobs, queue) = channel::<NamedJob>();
        let (started, is_started) = sync_channel(1);
        let work = move || {
            let watch = Arc::new(Watch::default());
            let mut watched = match engine() {
                Ok(engine) => Watched { engine, watch: &watch },
                Err(error) => return drop(started.send(Err(error))),
            };
            let (rank, size) = watched.place();
            watch.name("meeting the other processes");
            let host = host();
            let late = move |line: String| end(abort, rank, &super::host::host(), &line);
            Watch::start(&watch, limit, late);
            let hosts = gather(&mut watched, host.as_bytes());
            let hosts = hosts.into_iter().map(|host| String::from_utf8_lossy(&host).into_owned()).collect();
            let _ = started.send(Ok(Place { rank, size, hosts }));
            for NamedJob { what, job } in queue {
                watch.name(&what);
                job(&mut watched);
            }
        };
        let fail = |error: std::io::Error| TrainError::Processes(format!("starting a thread: {error}"));
        let thread = thread::Builder::new().name("communication".into()).spawn(work).map_err(fail)?;
        let place = is_started.recv().map_err(|_| TrainError::Processes("the engine has panicked".into()))??;
        Ok(Self(Some(Arc::new(Inner {
            place,
            jobs: Some(jobs),
            thread: Some(thread),
            abort,
            is_agreed: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            buffers: Buffers::default(),
        }))))
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.place.rank)
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |inner| inner.place.size)
    }

    /// Whether this is the process that prints, tracks and removes.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// How many processes are on this machine.
    pub fn local_size(&self) -> usize {
        self.0.as_ref().map_or(1, |inner| inner.place.on_this_machine(inner.place.size))
    }

    /// The number of this process among those of this machine, from 0.
    pub fn local_rank(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.place.on_this_machine(inner.place.rank))
    }

    /// A process by number and host, for messages.
    pub(crate) fn name_of(&self, rank: usize) -> String {
        let host = self.0.as_ref().map_or_else(host, |inner| inner.place.hosts[rank].clone());
        format!("rank {rank} on {host}")
    }

    /// Has the communicating thread do something that every process does, and goes on; `None` where this one is alone.
    pub(crate) fn begin<R: Send + 'static>(
        &self,
        what: impl Into<String>,
        job: impl FnOnce(&mut dyn Transport) -> R + Send + 'static,
    ) -> Option<Pending<R>> {
        let inner = self.0.as_ref()?;
        let (sender, receiver) = sync_channel(1);
        let job: Job = Box::new(move |transport| drop(sender.send(job(transport))));
        let jobs = inner.jobs.as_ref().expect("invariant: taken at the end only");
        let sent = jobs.send(NamedJob { what: what.into(), job });
        sent.expect("invariant: the communicating thread lives as long as its group");
        Some(Pending(receiver))
    }

    /// Memory for what is sent and received.
    pub(super) fn buffers(&self) -> Buffers {
        self.0.as_ref().map_or_else(Buffers::default, |inner| inner.buffers.clone())
    }

    /// What every process says, in their order; the own as it is, that of others through text, which may round the last
    /// digit of a number.
    pub(crate) fn gather<T: Serialize + DeserializeOwned>(&self, what: &str, own: T) -> Vec<T> {
        if self.0.is_none() {
            return vec![own];
        }
        let text = serde_json::to_vec(&own).expect("invariant: plain data");
        let all = self.begin(what, move |transport| gather(transport, &text)).map_or_else(Vec::new, Pending::wait);
        let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes).expect("invariant: written by another process");
        let mut all: Vec<T> = all.into_iter().map(read).collect();
        all[self.rank()] = own;
        all
    }

    /// What the first process says.
    pub(crate) fn of_first<T: Serialize + DeserializeOwned>(&self, what: &str, own: T) -> T {
        self.gather(what, own).swap_remove(0)
    }

    /// The sum of all processes' values, added in their order.
    pub(crate) fn sum(&self, what: &str, own: f64) -> f64 {
        let all = self.begin(what, move |transport| gather_equal(transport, &own.to_le_bytes()));
        all.map_or(own, |all| all.wait().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).sum())
    }

    /// Whether it is so for any process.
    pub(crate) fn any(&self, what: &str, own: bool) -> bool {
        self.sum(what, f64::from(u8::from(own))) > 0.0
    }

    /// The result, if every process has one; else an error for all, of which the first process tells.
    ///
    /// # Errors
    /// The own error, or that of another process, with its name.
    pub(crate) fn agree<T>(&self, what: &str, result: Result<T>) -> Result<T> {
        let Some(inner) = &self.0 else { return result };
        let error = result.as_ref().err().map(TrainError::line);
        let errors = self.gather(what, error).into_iter().enumerate();
        let Some((rank, error)) = errors.filter_map(|(rank, error)| Some((rank, error?))).next() else { return result };
        inner.is_agreed.store(true, Ordering::Relaxed);
        result.and_then(|_| Err(TrainError::Processes(format!("{}: {error}", self.name_of(rank)))))
    }

    /// Whether all processes know of the error that this one ends with.
    pub(crate) fn has_agreed(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.is_agreed.load(Ordering::Relaxed))
    }

    /// The error of a process that ends because another does.
    pub(super) fn told_by(&self, rank: usize) -> TrainError {
        if let Some(inner) = &self.0 {
            inner.is_told.store(true, Ordering::Relaxed);
        }
        TrainError::Processes(format!("{} has failed", self.name_of(rank)))
    }

    /// Whether this process only ends because another does, which tells why.
    pub(crate) fn is_told(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.is_told.load(Ordering::Relaxed))
    }

    /// Ends every process of the group because of an error of this one, with a line that names it, unless all know of the
    /// error: then each ends by itself. To be called by programs that return from `main` no more; one that would simply
    /// end waits for the others for ever.
    pub fn end_all(&self, error: impl std::fmt::Display) {
        let Some(inner) = self.0.as_ref().filter(|_| !self.has_agreed() && !self.is_told()) else { return };
        end(inner.abort, inner.place.rank, &inner.place.hosts[inner.place.rank], &error.to_string());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread ends when there is nothing left to do; then the engine says good-bye to the others.
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

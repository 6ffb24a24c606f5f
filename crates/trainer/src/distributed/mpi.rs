//! MPI as the engine, for host memory. One thread makes all calls but the one that ends everything.

use std::{
    panic, process, thread,
    time::{Duration, Instant},
};

use cogview4_model::fence::is_fenced;
use mpi::{
    Threading,
    datatype::{Partition, PartitionMut},
    environment::Universe,
    request::{self, Request, Scope},
    topology::SimpleCommunicator,
    traits::{Communicator, CommunicatorCollectives},
};

use super::{
    Group,
    host::{end, host},
    transport::Transport,
};
use crate::error::{Result, TrainError};

/// A look at a request that takes longer than this has moved data.
const MOVED: Duration = Duration::from_micros(2);
/// Looks, one right after another, before the thread begins to sleep between them.
const LOOKS: u32 = 200;
/// The longest sleep.
const NAP: Duration = Duration::from_micros(500);
/// How long ending everything may take; then this process ends itself.
const LAST_TRY: Duration = Duration::from_secs(10);

struct Mpi {
    world: SimpleCommunicator,
    // Dropped last: then the process says good-bye to the others.
    _universe: Universe,
}

/// Meets the `expected` processes that a launcher has started.
///
/// # Errors
/// Another number of processes meets: the launcher is another MPI's.
pub(super) fn start(expected: usize, limit: Duration) -> Result<Group> {
    let engine = move || -> Result<Box<dyn Transport>> {
        let fail = || TrainError::Processes("MPI is running already".into());
        let (universe, threading) = mpi::initialize_with_threading(Threading::Multiple).ok_or_else(fail)?;
        let world = universe.world();
        let found = world.size();
        if found as usize != expected {
            let library = library();
            let reason = format!(
                "{expected} processes were started, but {found} meet: start them with the mpirun of {library}, which \
                 this program is built with"
            );
            return Err(TrainError::Processes(reason));
        }
        if threading != Threading::Multiple {
            return Err(TrainError::Processes("this MPI cannot be used by several threads".into()));
        }
        let rank = world.rank() as usize;
        // A panic that leaves `main` would wait for the others for ever.
        panic::set_hook(Box::new(move |panic| {
            if !is_fenced() {
                end(abort, rank, &host(), &panic.to_string());
            }
        }));
        Ok(Box::new(Mpi { world, _universe: universe }))
    };
    Group::start(engine, abort, limit)
}

/// Name and version of the MPI that this program is built with.
pub(crate) fn library() -> String {
    let version = mpi::environment::library_version().unwrap_or_default();
    let first = version.lines().next().unwrap_or_default();
    first.split(',').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Ends every process, whatever they do.
fn abort(status: i32) {
    let last = || {
        thread::sleep(LAST_TRY);
        process::abort();
    };
    let _ = thread::Builder::new().spawn(last);
    SimpleCommunicator::world().abort(status);
}

impl Transport for Mpi {
    fn place(&self) -> (usize, usize) {
        (self.world.rank() as usize, self.world.size() as usize)
    }

    fn all_to_all(&mut self, send: &[u8], counts: &[usize], receive: &mut [u8], received: &[usize]) {
        let (counts, places) = partition(counts);
        let (received, receive_places) = partition(received);
        let mut nothing = [0];
        let send = Partition::new(with_place(send), counts, places);
        let receive = if receive.is_empty() { &mut nothing[..0] } else { receive };
        let mut receive = PartitionMut::new(receive, received, receive_places);
        request::scope(|scope| wait(self.world.immediate_all_to_all_varcount_into(scope, &send, &mut receive)));
    }

    fn all_gather(&mut self, part: &[u8], all: &mut [u8], counts: &[usize]) {
        let (counts, places) = partition(counts);
        let mut nothing = [0];
        let all = if all.is_empty() { &mut nothing[..0] } else { all };
        let (part, mut all) = (with_place(part), PartitionMut::new(all, counts, places));
        request::scope(|scope| wait(self.world.immediate_all_gather_varcount_into(scope, part, &mut all)));
    }
}

/// Bytes that have a place in memory: that of an empty vector is number 1, which is Open MPI's `MPI_IN_PLACE`.
fn with_place(bytes: &[u8]) -> &[u8] {
    static NOTHING: [u8; 1] = [0];
    if bytes.is_empty() { &NOTHING[..0] } else { bytes }
}

/// Counts, and what comes before each, as MPI wants them.
fn partition(counts: &[usize]) -> (Vec<i32>, Vec<i32>) {
    let number = |count: usize| i32::try_from(count).expect("invariant: a unit has fewer than 2 GiB");
    let places = counts.iter().scan(0, |before, count| {
        let place = *before;
        *before += count;
        Some(number(place))
    });
    (counts.iter().map(|&count| number(count)).collect(), places.collect())
}

/// Waits for a request. MPI moves data only while it is asked, so a thread that sleeps would slow it down, and one that
/// never does would take a core from those that compute.
fn wait<'a, D: ?Sized, S: Scope<'a>>(mut request: Request<'a, D, S>) {
    let mut idle = 0_u32;
    loop {
        let start = Instant::now();
        request = match request.test() {
            Ok(_) => return,
            Err(request) => request,
        };
        idle = if start.elapsed() > MOVED { 0 } else { idle.saturating_add(1) };
        match idle.checked_sub(LOOKS) {
            None => thread::yield_now(),
            Some(naps) => thread::sleep(NAP.min(Duration::from_micros(10) * (naps + 1))),
        }
    }
}

//! Several processes that train together: who is in the group, what is whose, and how gradients and weights get there.
//!
//! Every number of a run is a function of the global sample, so that a run of one process and of several follow the same
//! path; what differs is the order in which gradients are added.

mod buffers;
mod exchange;
mod group;
mod host;
mod launched;
#[cfg(feature = "mpi")]
mod mpi;
mod phase;
mod threads;
mod transport;
mod watch;
mod weights;

use std::time::Duration;

pub use group::Group;

pub(crate) use exchange::{Exchange, ExchangeTimes, Round};
pub(crate) use weights::SharedStep;

/// How long a collective may last by default.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// What to do where several processes are wanted and this program knows no MPI.
#[cfg(not(feature = "mpi"))]
pub(crate) const WITHOUT_MPI: &str = "this program is built without MPI: install one (Debian: `apt install openmpi-bin \
     libopenmpi-dev libclang-dev`) and build with `cargo build --release --features mpi`";

/// Name and version of the MPI that this program is built with.
#[cfg(feature = "mpi")]
pub(crate) use mpi::library as mpi_library;

/// Gives each process of a machine its part of the cores, unless the launcher has done so, or the user.
#[cfg(feature = "mpi")]
fn threads_of_process(group: &Group) {
    if std::env::var_os("RAYON_NUM_THREADS").is_some() {
        return;
    }
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let fair = (cores().unwrap_or(usable) / group.local_size()).max(1);
    // Where something has computed already, it has all cores: slower, not wrong.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(fair.min(usable)).build_global();
}

/// The cores of this machine, also of a process that is bound to some of them.
#[cfg(feature = "mpi")]
fn cores() -> Option<usize> {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let count = |range: &str| -> Option<usize> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
    };
    online.trim().split(',').map(count).sum()
}

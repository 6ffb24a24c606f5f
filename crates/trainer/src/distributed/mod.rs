//! Several processes that train together: who is in the group, what is whose, and how gradients and weights get there.
//!
//! Every number of a run is a function of the global sample, so that a run of one process and of several follow the same
//! path; what differs is the order in which gradients are added.

mod buffers;
#[cfg(feature = "mpi")]
mod cores;
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

//! `train_control_cogview4` as a user runs it.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod card;
mod check;
mod data;
mod faults;
mod flags;
mod flips;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(unix)]
mod hostile;
mod hub;
mod learning;
mod looking;
mod models;
#[cfg(feature = "mpi")]
mod mpi;
mod places;
mod processes;
mod push;
mod resume;
mod saving;
mod speed;
mod stopping;
mod support;
mod validation;
mod wandb;
mod wandb_reader;
mod wandb_sync;

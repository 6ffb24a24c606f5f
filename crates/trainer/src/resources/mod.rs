//! What a run takes of the machine: disk and memory, looked at before work begins.

mod disk;
mod memory;

pub(crate) use disk::check_disk;
pub(crate) use memory::check_memory;

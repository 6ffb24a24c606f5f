//! What a run takes of the machine.

pub(crate) mod disk;
pub(crate) mod memory;

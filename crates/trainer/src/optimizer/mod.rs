//! The optimiser.

pub(crate) mod adamw;

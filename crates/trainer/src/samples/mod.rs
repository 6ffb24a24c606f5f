//! From rows to micro-batches.

pub(crate) mod batch;
pub(crate) mod encoders;
pub(crate) mod rows;

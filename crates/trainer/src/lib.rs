//! Training of CogView4 Control models.

pub mod cli;

//! The tests of the whole: against golden fixtures of the reference (`fixtures/`, made by `scripts/reference`), against
//! hostile files, and of the real binaries. `cargo test --test suite canny` runs one topic. What is
//! run on every backend is in `tests/backends`.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod canny;
mod card;
mod cli;
mod downloads;
mod folder;
mod hostile;
mod hostile_files;
mod hostile_models;
mod hub;
mod images;
mod parameters;
mod plan;
mod random_pipeline;
mod rng;
mod scheduler;
mod streaming;
mod support;
mod tokenizer;

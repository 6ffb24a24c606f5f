//! The tests of the whole: against golden fixtures of the reference (`fixtures/`, made by `scripts/reference`), against
//! hostile files, and of the real binaries. `cargo test --test suite parity` runs one topic.

mod canny;
mod cli;
mod hostile;
mod images;
mod parity;
mod rng;
mod scheduler;
mod support;
mod tokenizer;

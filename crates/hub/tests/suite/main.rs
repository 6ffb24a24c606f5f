//! Downloads against a Hub on loopback that a test may make to misbehave.

mod download;
mod hostile;
mod hub;
mod killed;
mod python;
mod sending;
mod server;

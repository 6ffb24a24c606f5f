//! Downloads and pushes against a Hub on loopback that a test may make to misbehave.

mod download;
mod hostile;
mod hub;
mod killed;
mod push;
mod push_killed;
mod push_refused;
mod python;
mod sending;
mod server;

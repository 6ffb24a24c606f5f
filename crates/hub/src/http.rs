//! Requests to the Hub: JSON with retries, redirects that take no token along, errors without secrets.
//!
//! The token goes to the endpoint's scheme, host and port and nowhere else, whatever a redirect says. Addresses are
//! shown without user and query, as those of storage are signed. Nothing is compressed, so lengths are those of files.

mod address;
mod client;
mod request;
mod retry;
mod status;

pub use client::{Http, Response};
pub use request::{Body, Request, Subject};
pub use ureq::http::{HeaderMap, Method};

pub(crate) use address::{encode_path, encode_segment, origin, shown};
pub(crate) use client::{Reply, reason_of_read};
pub(crate) use retry::{Failure, Retries};
pub(crate) use status::{header, quoted};

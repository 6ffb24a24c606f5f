//! Requests to the Hub: JSON with retries, redirects that take no token along, errors without secrets.
//!
//! The token goes to the endpoint's scheme, host and port and nowhere else, whatever a redirect says. Addresses are
//! shown without user and query, as those of storage are signed. Nothing is compressed, so lengths are those of files.
//! No server on the internet leads into a private network ([`Agents`]), and https stays https ([`next_address`]).

mod address;
mod agents;
mod client;
mod private;
mod redirect;
mod request;
mod retry;
mod status;

pub use address::{is_url, shown};
pub use agents::Agents;
pub use client::{Http, Response};
pub use redirect::{MAX_REDIRECTS, is_redirect, next_address};
pub use request::{Body, Request, Subject};
pub use ureq::http::{HeaderMap, Method};

pub(crate) use address::{encode_path, encode_segment, origin};
pub(crate) use client::{Reply, reason_of_read};
pub(crate) use retry::{Failure, Retries};
pub(crate) use status::{header, quoted};

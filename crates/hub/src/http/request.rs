//! A request before it is sent.

use std::{
    fmt,
    io::{self, Read},
    time::Duration,
};

use serde_json::Value;
use ureq::http::Method;

use crate::{error::HubError, repo::Repo};

/// What a request is about, for errors.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A repository.
    Repo(&'a Repo),
    /// A file of a repository.
    File(&'a Repo, &'a str),
    /// Something else, by its name: `whoami`.
    Other(&'a str),
}

impl<'a> Subject<'a> {
    pub(crate) fn repo(self) -> Option<&'a Repo> {
        match self {
            Self::Repo(repo) | Self::File(repo, _) => Some(repo),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repo(repo) => write!(f, "{repo}"),
            Self::File(repo, path) => write!(f, "{path} of {repo}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// What is sent along. It may be sent more than once.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// So many bytes from a reader, which is opened for each try; its length stands in the request, so that storage
    /// that wants to know it is content.
    Reader {
        /// Opens it at its start.
        open: &'a dyn Fn() -> io::Result<Box<dyn Read>>,
        /// Bytes that it gives.
        length: u64,
    },
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Reader { length, .. } => write!(f, "Reader({length})"),
        }
    }
}

/// A request: an address or a path of the endpoint, what it is about, and what is sent along.
///
/// ```
/// use cogview4_hub::http::{Body, Request, Subject};
///
/// let request = Request::post("/api/validate-yaml", Subject::Other("the model card"))
///     .header("Content-Type", "application/json")
///     .body(Body::Bytes(b"{}"));
/// # drop(request);
/// ```
#[derive(Clone)]
pub struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) subject: Subject<'a>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body<'a>,
    pub(super) with_token: bool,
    pub(super) patience: Option<Duration>,
}

/// Addresses and headers may be secrets, and stay out.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {} for {})", self.method, super::shown(&self.url), self.subject)
    }
}

impl<'a> Request<'a> {
    /// A request by any method; `url` is an address, or a path that begins with a slash and goes to the endpoint.
    pub fn new(method: Method, url: impl Into<String>, subject: Subject<'a>) -> Self {
        Self {
            method,
            url: url.into(),
            subject,
            headers: Vec::new(),
            body: Body::Empty,
            with_token: true,
            patience: None,
        }
    }

    /// `GET`.
    pub fn get(url: impl Into<String>, subject: Subject<'a>) -> Self {
        Self::new(Method::GET, url, subject)
    }

    /// `POST`.
    pub fn post(url: impl Into<String>, subject: Subject<'a>) -> Self {
        Self::new(Method::POST, url, subject)
    }

    /// `PUT`.
    pub fn put(url: impl Into<String>, subject: Subject<'a>) -> Self {
        Self::new(Method::PUT, url, subject)
    }

    /// One more header. `Authorization` stays with the host that it is for, whatever a redirect says.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// What is sent along.
    #[must_use]
    pub fn body(mut self, body: Body<'a>) -> Self {
        self.body = body;
        self
    }

    /// How long is waited for the answer, where that takes longer than answers do: a commit of many files.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Sends no token, not even to the endpoint: addresses that are signed want none.
    #[must_use]
    pub fn without_token(mut self) -> Self {
        self.with_token = false;
        self
    }
}

/// JSON of an answer.
pub(super) fn parse_json(body: &[u8], subject: Subject<'_>, host: &str) -> Result<Value, HubError> {
    serde_json::from_slice(body).map_err(|error| {
        let start = String::from_utf8_lossy(&body[..body.len().min(64)]).trim_start().to_ascii_lowercase();
        let is_html = start.starts_with("<!doctype") || start.starts_with("<html");
        let reason = if is_html { "a page (HTML) in place of JSON".into() } else { format!("JSON: {error}") };
        HubError::NotAHub { what: subject.to_string(), host: host.into(), reason }
    })
}

//! What goes wrong, where a test wants something to go wrong.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use crate::{answer::Answer, request::Request};

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This answer, and nothing is done.
    Status {
        /// The HTTP status.
        status: u16,
        /// Headers beside `Content-Length`.
        headers: Vec<(String, String)>,
        /// The content.
        body: Vec<u8>,
    },
    /// The connection is closed after so many bytes of the answer's content.
    Cut {
        /// Bytes of content that are sent.
        after: u64,
    },
    /// The connection is closed after so many bytes of the request's content were read; nothing is done.
    CutRequest {
        /// Bytes of content that are read.
        after: u64,
    },
    /// What was asked for is done, but the connection is closed without an answer.
    NoAnswer,
    /// The request is read, and never answered.
    Silent,
    /// The answer comes as far as so many bytes of its content, then nothing more; the connection stays open.
    Stall {
        /// Bytes of content that are sent.
        after: u64,
    },
    /// The answer comes late.
    Late(Duration),
    /// The answer's content comes at this speed.
    Slow {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// The answer says another `Content-Length` than it has.
    ContentLength(u64),
    /// One bit of the content is another one: the lowest of the byte at this place of the *file*, also where only a
    /// range of it is asked for.
    Flip {
        /// The byte's place in the file.
        offset: u64,
    },
    /// The answer's content has no end, and no `Content-Length`.
    Endless,
    /// Bytes in place of an answer, headers and all.
    Raw(Vec<u8>),
}

impl Fault {
    /// An answer with a status, without content.
    pub fn status(status: u16) -> Self {
        Self::Status { status, headers: Vec::new(), body: Vec::new() }
    }

    /// An answer with a status and JSON that says why, as the Hub says it.
    pub fn refusal(status: u16, reason: &str) -> Self {
        let body = serde_json::json!({ "error": reason }).to_string();
        Self::status(status).with_header("X-Error-Message", reason).with_body("application/json", body)
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).with_header("Location", location)
    }

    /// Another answer with status 200.
    pub fn body(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).with_body(content_type, body)
    }

    /// A page in place of what was asked for.
    pub fn html() -> Self {
        Self::body("text/html", "<!DOCTYPE html><html><body>Please log in</body></html>")
    }

    /// The same answer with one more header; other faults stay as they are.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }

    fn with_body(mut self, content_type: &str, content: impl Into<Vec<u8>>) -> Self {
        if let Self::Status { body, .. } = &mut self {
            *body = content.into();
        }
        self.with_header("Content-Type", content_type)
    }

    /// The answer that stands in place of the Hub's own.
    pub(crate) fn answer(&self) -> Option<Answer> {
        let Self::Status { status, headers, body } = self else { return None };
        Some(headers.iter().fold(Answer::new(*status, body.clone()), |answer, (name, value)| answer.with(name, value)))
    }
}

/// Says what goes wrong with a request.
pub(crate) type Function = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

/// When something goes wrong.
pub(crate) enum Rule {
    Function(Arc<Function>),
    List(String, VecDeque<Fault>),
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(_) => f.write_str("Function"),
            Self::List(path, faults) => write!(f, "List({path}, {faults:?})"),
        }
    }
}

impl Rule {
    /// The next fault of a list, if the request is one that it is for.
    pub(crate) fn next(&mut self, request: &Request) -> Option<Fault> {
        match self {
            Self::List(path, faults) if request.path.contains(path.as_str()) => faults.pop_front(),
            _ => None,
        }
    }
}

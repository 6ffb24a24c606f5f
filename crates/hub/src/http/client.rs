//! Sends requests.

use std::{io::Read, time::Duration};

use serde_json::Value;
use ureq::{
    SendBody,
    http::{self, HeaderMap, Method, header::AUTHORIZATION},
};

use super::{
    Body, Failure, MAX_REDIRECTS, Request, Retries, Subject,
    address::{is_url, origin, shown_host},
    is_redirect, next_address,
    request::parse_json,
    status,
};
use crate::{
    error::{HubError, Result},
    hub::Hub,
};

/// Longer answers that are no files are refused.
const MAX_ANSWER: u64 = 64 << 20;
/// Of answers with an error status, so much is read.
const MAX_ERROR_ANSWER: u64 = 1 << 16;

/// Requests as one [`Hub`] makes them.
#[derive(Debug, Clone, Copy)]
pub struct Http<'a> {
    hub: &'a Hub,
}

/// An answer, wholly read.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its content.
    pub body: Vec<u8>,
    host: String,
}

impl Response {
    /// The content as JSON.
    ///
    /// # Errors
    /// [`HubError::NotAHub`] where it is none.
    pub fn json(&self, subject: Subject<'_>) -> Result<Value> {
        parse_json(&self.body, subject, &self.host)
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        status::header(&self.headers, name)
    }
}

/// An answer whose content is not read yet.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ureq::Body,
    /// Who gave it: scheme and host, for messages.
    pub(crate) host: String,
    /// The headers of the endpoint's own answers on the way, the first first.
    pub(crate) from_endpoint: Vec<HeaderMap>,
}

impl<'a> Http<'a> {
    pub(crate) fn new(hub: &'a Hub) -> Self {
        Self { hub }
    }

    /// JSON from a path of the endpoint, or an address.
    ///
    /// # Errors
    /// Whatever keeps the answer away, and what is no JSON.
    pub fn get_json(&self, url: &str, subject: Subject<'_>) -> Result<Value> {
        self.send(&Request::get(url, subject))?.json(subject)
    }

    /// Sends JSON by `POST`, and reads JSON.
    ///
    /// # Errors
    /// As [`Self::get_json`].
    pub fn post_json(&self, url: &str, subject: Subject<'_>, value: &Value) -> Result<Value> {
        let body = value.to_string();
        let request = Request::post(url, subject).header("Content-Type", "application/json");
        self.send(&request.body(Body::Bytes(body.as_bytes())))?.json(subject)
    }

    /// Sends a request, several times if need be. An answer has a status of success.
    ///
    /// # Errors
    /// Whatever keeps the answer away, and every other status.
    pub fn send(&self, request: &Request<'_>) -> Result<Response> {
        self.send_accepting(request, &[])
    }

    /// As [`Self::send`], but takes some statuses of failure as answers too: 409 says that a repository is there.
    ///
    /// # Errors
    /// Whatever keeps the answer away, and every other status.
    pub fn send_accepting(&self, request: &Request<'_>, accepted: &[u16]) -> Result<Response> {
        let _waiting = self.hub.progress().waiting();
        let mut retries = Retries::new(self.hub);
        loop {
            match self.try_send(request, accepted) {
                Ok(response) => return Ok(response),
                Err(failure) => retries.wait(failure)?,
            }
        }
    }

    fn try_send(&self, request: &Request<'_>, accepted: &[u16]) -> Result<Response, Failure> {
        let reply = self.open(request, accepted)?;
        let Reply { status, headers, body, host, .. } = reply;
        let what = request.subject.to_string();
        let mut content = Vec::new();
        if let Err(error) =
            body.into_with_config().limit(u64::MAX).reader().take(MAX_ANSWER + 1).read_to_end(&mut content)
        {
            let reason = format!("cut after {} bytes: {}", content.len(), reason_of_read(&error));
            return Err(Failure::Again(HubError::Unreachable { what, host, reason }, None));
        }
        if content.len() as u64 > MAX_ANSWER {
            let reason = format!("an answer of more than {MAX_ANSWER} bytes");
            return Err(HubError::NotAHub { what, host, reason }.into());
        }
        Ok(Response { status, headers, body: content, host })
    }

    /// One try; what comes back has a status of success, or one of those that are accepted.
    pub(crate) fn open(&self, request: &Request<'_>, accepted: &[u16]) -> Result<Reply, Failure> {
        self.hub.check_usable(request.subject)?;
        let what = || request.subject.to_string();
        let mut url =
            if is_url(&request.url) { request.url.clone() } else { format!("{}{}", self.hub.endpoint(), request.url) };
        let first = origin(&url);
        let mut from_endpoint = Vec::new();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.exchange(request, &url, first.is_some() && origin(&url) == first)?;
            let (parts, body) = response.into_parts();
            let (status, host) = (parts.status.as_u16(), shown_host(&url));
            if self.hub.is_endpoint(&url) {
                from_endpoint.push(parts.headers.clone());
            }
            let refuse = |reason: String| HubError::Redirect { what: what(), host: host.clone(), reason };
            if is_redirect(status) {
                let next =
                    self.redirect(request, &url, status, &parts.headers).map_err(|reason| refuse(reason.into()))?;
                url = next;
                continue;
            }
            if !parts.status.is_success() && !accepted.contains(&status) {
                let mut text = Vec::new();
                // What cannot be read of it is not said.
                let _ = body.into_with_config().reader().take(MAX_ERROR_ANSWER).read_to_end(&mut text);
                return Err(status::failure(self.hub, request.subject, &url, status, &parts.headers, &text));
            }
            if let Some(encoding) = status::header(&parts.headers, "content-encoding").filter(|e| *e != "identity") {
                let reason = format!("content encoded as {encoding:?}, which was not asked for");
                return Err(HubError::NotAHub { what: what(), host, reason }.into());
            }
            return Ok(Reply { status, headers: parts.headers, body, host, from_endpoint });
        }
        let reason = format!("more than {MAX_REDIRECTS} times");
        Err(HubError::Redirect { what: what(), host: shown_host(&url), reason }.into())
    }

    /// Where an answer sends a request; or why it does not go there.
    fn redirect(
        &self,
        request: &Request<'_>,
        url: &str,
        status: u16,
        headers: &HeaderMap,
    ) -> Result<String, &'static str> {
        let next = next_address(url, headers)?;
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        if !reads && (matches!(status, 301..=303) || origin(&next) != origin(url)) {
            return Err("what is sent to it");
        }
        Ok(next)
    }

    /// One request and the head of its answer; `at_home` where it goes to the host that the caller named.
    fn exchange(&self, request: &Request<'_>, url: &str, at_home: bool) -> Result<http::Response<ureq::Body>, Failure> {
        let unreachable =
            |reason: String| HubError::Unreachable { what: request.subject.to_string(), host: shown_host(url), reason };
        let mut builder =
            http::Request::builder().method(&request.method).uri(url).header("Accept-Encoding", "identity");
        for (name, value) in &request.headers {
            if at_home || !name.eq_ignore_ascii_case("authorization") {
                builder = builder.header(name, value);
            }
        }
        if let Some(token) = self.hub.token().filter(|_| request.with_token && self.hub.is_endpoint(url)) {
            builder = builder.header(AUTHORIZATION, format!("Bearer {}", token.secret()));
        }
        let (length, body) = match request.body {
            Body::Empty if matches!(request.method, Method::GET | Method::HEAD) => (None, SendBody::none()),
            Body::Empty => (Some(0), SendBody::from_owned_reader(std::io::empty())),
            Body::Bytes(bytes) => {
                (Some(bytes.len() as u64), SendBody::from_owned_reader(std::io::Cursor::new(bytes.to_vec())))
            }
            Body::Reader { open, length } => {
                let reader = open().map_err(|error| unreachable(format!("what is sent cannot be read: {error}")))?;
                (Some(length), SendBody::from_owned_reader(reader))
            }
        };
        if let Some(length) = length {
            builder = builder.header("Content-Length", length);
        }
        // Says no more than "invalid", as headers may be secrets.
        let ready = builder.body(body).map_err(|_| unreachable("the request is not valid".into()))?;
        let patience = request.patience.unwrap_or(self.hub.timeouts().first_byte);
        let agents = self.hub.agents();
        let agent = if self.hub.is_endpoint(url) { agents.asked_for() } else { agents.named() };
        let ready = agent
            .configure_request(ready)
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(request.patience.unwrap_or(self.hub.timeouts().stall)))
            .build();
        agent.run(ready).map_err(|error| {
            let again = !matches!(
                error,
                ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::Tls(_) | ureq::Error::Other(_)
            );
            let error = unreachable(self.reason(&error, patience));
            if again { Failure::Again(error, None) } else { Failure::Final(error) }
        })
    }

    /// Why there is no answer.
    fn reason(&self, error: &ureq::Error, patience: Duration) -> String {
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect) => no_answer("no connection", self.hub.timeouts().connect),
            ureq::Error::Timeout(ureq::Timeout::PerRead | ureq::Timeout::RecvResponse) => {
                no_answer("no answer", patience)
            }
            ureq::Error::HostNotFound => "there is no such host".into(),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => "not a valid address".into(),
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::Other(refusal) => refusal.to_string(),
            ureq::Error::Protocol(_) => "the answer is not HTTP".into(),
            // Others repeat no address.
            other => other.to_string(),
        }
    }
}

fn no_answer(what: &str, within: Duration) -> String {
    format!("{what} within {} s", within.as_secs_f32())
}

/// Why the rest of an answer did not come.
pub(crate) fn reason_of_read(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(_)) => "nothing came for too long".into(),
        Some(ureq::Error::Protocol(_)) | None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the connection was closed".into()
        }
        _ => error.to_string(),
    }
}

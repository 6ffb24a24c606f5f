//! What a status means: the Hub says more in two headers.

use std::time::Duration;

use serde_json::Value;
use ureq::http::HeaderMap;

use super::{Failure, Subject, address::shown_host};
use crate::{error::HubError, hub::Hub};

/// Longer explanations of a server are cut.
const MAX_REASON: usize = 200;

/// A header as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// How long a server asks to wait.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    // The other form, a date, is not used by the Hub; the usual waits do then.
    header(headers, "retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

/// The failure that an answer with an error status is.
pub(super) fn failure(
    hub: &Hub,
    subject: Subject<'_>,
    url: &str,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Failure {
    let wait = retry_after(headers);
    let error = error(hub, subject, url, status, headers, body);
    if matches!(status, 408 | 429 | 500 | 502..=504 | 520..=530) { Failure::Again(error, wait) } else { error.into() }
}

fn error(hub: &Hub, subject: Subject<'_>, url: &str, status: u16, headers: &HeaderMap, body: &[u8]) -> HubError {
    let what = subject.to_string();
    let host = shown_host(url);
    // Storage repeats signatures in its answers: only the Hub itself is quoted.
    let from_hub = hub.is_endpoint(url);
    let said = if from_hub { said(hub, headers, body) } else { String::new() };
    let (code, endpoint) = (header(headers, "x-error-code").unwrap_or_default(), hub.endpoint().to_string());
    let repo = subject.repo().filter(|_| from_hub);
    match (code, status, repo) {
        (_, 429, _) => {
            return HubError::RateLimited { what, seconds: retry_after(headers).map(|wait| wait.as_secs()) };
        }
        ("RevisionNotFound", _, Some(repo)) => {
            return HubError::RevisionNotFound { id: repo.id.clone(), revision: repo.revision().into() };
        }
        ("GatedRepo", _, Some(repo)) => {
            return HubError::Gated { id: repo.id.clone(), page: format!("{endpoint}/{}", repo.url_path()) };
        }
        (_, _, Some(repo)) if said == "Access to this resource is disabled." => {
            return HubError::Disabled { id: repo.id.clone() };
        }
        (_, 401, _) if from_hub && (said.starts_with("Invalid credentials") || repo.is_none()) => {
            return HubError::WrongToken { endpoint };
        }
        // Who may not see a repository is not told whether it is there.
        ("RepoNotFound", _, Some(repo)) | ("", 401, Some(repo)) => {
            return HubError::RepoNotFound { id: repo.id.clone(), kind: repo.kind, endpoint };
        }
        _ => {}
    }
    match (status, subject, code) {
        (404, Subject::File(repo, path), _) | (_, Subject::File(repo, path), "EntryNotFound") if from_hub => {
            HubError::EntryNotFound { repo: repo.clone().into(), path: path.into() }
        }
        (404, Subject::Repo(repo), _) if from_hub => {
            HubError::RepoNotFound { id: repo.id.clone(), kind: repo.kind, endpoint }
        }
        (401 | 403, ..) if from_hub => {
            let reason = if said.is_empty() { format!("status {status}; look at the token's rights") } else { said };
            HubError::Forbidden { what, reason }
        }
        _ => {
            let reason = if said.is_empty() { said } else { format!(": {said}") };
            HubError::Status { what, host, status, reason }
        }
    }
}

/// What the Hub says of an error.
fn said(hub: &Hub, headers: &HeaderMap, body: &[u8]) -> String {
    let from_body = || {
        let body: Value = serde_json::from_slice(body).ok()?;
        let error = body.get("error").or_else(|| body.get("message"))?;
        error.as_str().map(str::to_owned)
    };
    let said = header(headers, "x-error-message").map(str::to_owned).or_else(from_body).unwrap_or_default();
    quoted(hub, &said)
}

/// What a server says, as a part of one line, without the token if it should repeat that.
pub(crate) fn quoted(hub: &Hub, said: &str) -> String {
    let said = hub.token().map_or_else(|| said.to_owned(), |token| said.replace(token.secret(), "***"));
    let line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect();
    line.trim().into()
}

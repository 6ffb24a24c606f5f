//! What the Hub answers.

mod lfs;
mod read;
mod write;

use crate::{
    address,
    answer::Answer,
    request::Request,
    server::Shared,
    state::{Access, Kind, Role, State},
};

/// A request with its address taken apart.
struct Asked<'a> {
    request: &'a Request,
    query: &'a [(String, String)],
    body: Vec<u8>,
    endpoint: String,
    store: String,
}

impl Asked<'_> {
    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A repository that a request is about.
#[derive(Clone, Copy)]
struct Target<'a> {
    kind: Kind,
    id: &'a str,
}

pub(crate) fn answer(shared: &Shared, request: &Request, body: Vec<u8>) -> Answer {
    let (segments, query) = address::parse(&request.path);
    let (endpoint, store) = (shared.endpoint(), shared.store());
    let asked = Asked { request, query: &query, body, endpoint, store };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let state = &mut *shared.state();
    match segments.as_slice() {
        ["objects", rest @ ..] if request.is_to_store() => lfs::object(state, asked, rest),
        _ if request.is_to_store() => Answer::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
        ["api", "whoami-v2"] => write::whoami(state, &asked),
        ["api", "repos", "create"] => write::create(state, &asked),
        ["api", "validate-yaml"] => write::validate(&asked),
        ["api", "complete_multipart"] => lfs::complete(state, &asked),
        ["api", plural @ ("models" | "datasets"), owner, name, rest @ ..] => {
            let kind = if *plural == "models" { Kind::Model } else { Kind::Dataset };
            about(state, &asked, kind, owner, name, |state, target| api(state, &asked, target, rest))
        }
        ["datasets", owner, name, rest @ ..] => {
            about(state, &asked, Kind::Dataset, owner, name, |state, target| plain(state, &asked, target, rest))
        }
        [owner, name, rest @ ..] => {
            about(state, &asked, Kind::Model, owner, name, |state, target| plain(state, &asked, target, rest))
        }
        _ => Answer::refusal(404, "", "Sorry, we can't find the page you are looking for."),
    }
}

/// Answers for a repository, once it is there and may be seen.
fn about(
    state: &mut State,
    asked: &Asked<'_>,
    kind: Kind,
    owner: &str,
    name: &str,
    act: impl FnOnce(&mut State, Target<'_>) -> Answer,
) -> Answer {
    let id = format!("{owner}/{}", name.strip_suffix(".git").unwrap_or(name));
    if let Some(new) = state.renamed(kind, &id) {
        return Answer::new(307, "").with("Location", asked.request.path.replacen(&id, new, 1));
    }
    if asked.request.token().is_some() && state.role(asked.request).is_none() {
        return Answer::refusal(401, "", "Invalid credentials in Authorization header");
    }
    let missing = || {
        let status = if asked.request.token().is_some() { 404 } else { 401 };
        Answer::refusal(status, "RepoNotFound", "Repository not found")
    };
    match state.repository(kind, &id).map(|repository| &repository.access) {
        None => missing(),
        Some(Access::Private(secret)) if !state.opens(asked.request, secret) => missing(),
        Some(_) => act(state, Target { kind, id: &id }),
    }
}

/// Paths below `/api/models/OWNER/NAME`.
fn api(state: &mut State, asked: &Asked<'_>, target: Target<'_>, rest: &[&str]) -> Answer {
    match (asked.request.method.as_str(), rest) {
        ("GET", []) => read::info(state, asked, target, "main"),
        ("GET", ["revision", revision]) => read::info(state, asked, target, revision),
        ("GET", ["tree", revision, folder @ ..]) => read::tree(state, asked, target, revision, &folder.join("/")),
        ("GET", ["parquet"]) if target.kind == Kind::Dataset => read::parquet(state, asked, target),
        ("GET", ["parquet", config, split, file]) => {
            let location = format!("/datasets/{}/resolve/refs%2Fconvert%2Fparquet", target.id);
            let file = file.strip_suffix(".parquet").and_then(|number| number.parse().ok()).unwrap_or(0);
            Answer::new(302, "").with("Location", format!("{location}/{config}/{split}/{file:04}.parquet"))
        }
        ("POST", ["preupload", revision]) => write::preupload(state, asked, target, revision),
        ("POST", ["commit", revision]) => write::commit(state, asked, target, revision),
        _ => Answer::refusal(404, "", "Not found"),
    }
}

/// Paths below `/OWNER/NAME`, `/datasets/OWNER/NAME`.
fn plain(state: &mut State, asked: &Asked<'_>, target: Target<'_>, rest: &[&str]) -> Answer {
    match (asked.request.method.as_str(), rest) {
        ("GET" | "HEAD", ["resolve", "refs", middle, last, path @ ..]) if !path.is_empty() => {
            read::resolve(state, asked, target, &format!("refs/{middle}/{last}"), &path.join("/"))
        }
        ("GET" | "HEAD", ["resolve", revision, path @ ..]) => {
            read::resolve(state, asked, target, revision, &path.join("/"))
        }
        ("POST", ["info", "lfs", "objects", "batch"]) => lfs::batch(state, asked, target),
        ("POST", ["info", "lfs", "objects", "verify"]) => lfs::verify(state, asked),
        _ => Answer::refusal(404, "", "Not found"),
    }
}

/// Who must not write is told so.
fn check_writer(state: &State, asked: &Asked<'_>, owner: &str) -> Result<(), Answer> {
    let role = state.role(asked.request);
    if asked.request.token().is_none() {
        return Err(Answer::refusal(401, "", "Invalid username or password."));
    }
    match role {
        None => Err(Answer::refusal(401, "", "Invalid credentials in Authorization header")),
        Some(Role::Write) if [crate::state::USER, crate::state::ORGANISATION].contains(&owner) => Ok(()),
        Some(Role::Read) => {
            Err(Answer::refusal(403, "", "Forbidden: you must use a write token to upload to a repository."))
        }
        Some(Role::Write) => {
            let reason = format!("You don't have the rights to create a model under the namespace \"{owner}\"");
            Err(Answer::refusal(403, "", &reason))
        }
    }
}

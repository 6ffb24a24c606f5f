//! Pushes: who may, where to, what of it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{Asked, Target, check_writer};
use crate::{
    answer::Answer,
    blob::Blob,
    state::{Access, Entry, Kind, ORGANISATION, Role, State, USER},
};

/// Licences that a card may name: some of the Hub's.
const LICENSES: [&str; 8] = ["apache-2.0", "mit", "other", "unknown", "cc0-1.0", "cc-by-4.0", "openrail", "gpl-3.0"];
/// What every repository of the Hub has at first.
const GITATTRIBUTES: &str = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n";

/// GET `/api/whoami-v2`.
pub(super) fn whoami(state: &State, asked: &Asked<'_>) -> Answer {
    let Some(role) = state.role(asked.request) else {
        let reason = "Invalid username or password.";
        return Answer::refusal(401, "", if asked.request.token().is_some() { "Invalid user token." } else { reason });
    };
    let role = if role == Role::Write { "write" } else { "read" };
    let orgs = json!([{"type": "org", "name": ORGANISATION, "roleInOrg": "write"}]);
    let auth = json!({"type": "access_token", "accessToken": {"displayName": "test", "role": role}});
    Answer::json(json!({"type": "user", "id": "1", "name": USER, "fullname": USER, "orgs": orgs, "auth": auth}))
}

/// POST `/api/repos/create`.
pub(super) fn create(state: &mut State, asked: &Asked<'_>) -> Answer {
    let wanted: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let owner = wanted["organization"].as_str().unwrap_or(USER);
    let Some(name) = wanted["name"].as_str().filter(|name| !name.is_empty() && !name.contains('/')) else {
        return Answer::refusal(400, "", "\"name\" is not allowed");
    };
    if let Err(answer) = check_writer(state, asked, owner) {
        return answer;
    }
    let kind = if wanted["type"] == "dataset" { Kind::Dataset } else { Kind::Model };
    let id = format!("{owner}/{name}");
    let url = format!("{}/{}{id}", asked.endpoint, kind.prefix());
    if state.repository(kind, &id).is_some() {
        let reason = format!("You already created this {} repo: {id}", kind.plural().trim_end_matches('s'));
        let body = json!({"error": reason, "url": url}).to_string();
        return Answer::new(409, body).with("Content-Type", "application/json");
    }
    let attributes = state.entry(".gitattributes", Blob::new(GITATTRIBUTES.into()));
    let repository = state.create(kind, &id);
    if wanted["private"] == true || wanted["visibility"] == "private" {
        repository.access = Access::Private(String::new());
    }
    repository.commit("main", "initial commit", [(".gitattributes".into(), attributes)].into());
    Answer::json(json!({"url": url, "name": id, "id": "1"}))
}

/// POST `/api/validate-yaml`: a small part of what the Hub looks at.
pub(super) fn validate(asked: &Asked<'_>) -> Answer {
    let wanted: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let content = wanted["content"].as_str().unwrap_or_default().replace("\r\n", "\n");
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    match content.strip_prefix("---\n").map(|rest| rest.split_once("\n---")) {
        None => warnings.push(json!({"message": "empty or missing yaml metadata in repo card"})),
        Some(None) => errors.push(json!({"message": "YAML metadata has no end"})),
        Some(Some((metadata, _))) => {
            for line in metadata.lines() {
                let license = line.strip_prefix("license:").map(|value| value.trim().trim_matches('"'));
                if license.is_some_and(|license| !LICENSES.contains(&license)) {
                    errors.push(json!({"message": "\"license\" must be one of [apache-2.0, mit, other, ...]"}));
                } else if line.starts_with('\t') || !(line.contains(':') || line.trim_start().starts_with('-')) {
                    errors.push(json!({"message": format!("YAML: {line:?} is neither a key nor an entry")}));
                }
            }
        }
    }
    let status = if errors.is_empty() { 200 } else { 400 };
    let body = json!({"errors": errors, "warnings": warnings}).to_string();
    Answer::new(status, body).with("Content-Type", "application/json")
}

/// POST `/api/models/ID/preupload/REV`: which files are large, and what is there under their names.
pub(super) fn preupload(state: &State, asked: &Asked<'_>, target: Target<'_>, revision: &str) -> Answer {
    if let Err(answer) = check_writer(state, asked, target.id.split('/').next().unwrap_or_default()) {
        return answer;
    }
    let Some(commit) = state.repository(target.kind, target.id).and_then(|repository| repository.at(revision)) else {
        return Answer::refusal(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"));
    };
    let wanted: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let file = |file: &Value| {
        let (path, size) = (file["path"].as_str()?, file["size"].as_u64()?);
        let sample = BASE64_STANDARD.decode(file["sample"].as_str()?).ok()?;
        let is_large = state.is_large(path, size);
        let oid = commit.files.get(path).map(Entry::oid);
        (sample.len() as u64 == size.min(512)).then(|| {
            json!({
                "path": path,
                "uploadMode": if is_large { "lfs" } else { "regular" },
                "shouldIgnore": false,
                "oid": oid,
            })
        })
    };
    let files: Option<Vec<Value>> = wanted["files"].as_array().and_then(|files| files.iter().map(file).collect());
    match files {
        Some(files) => Answer::json(json!({"files": files, "commitOid": commit.oid})),
        None => Answer::refusal(400, "", "\"files\" is not valid"),
    }
}

/// POST `/api/models/ID/commit/REV`.
pub(super) fn commit(state: &mut State, asked: &Asked<'_>, target: Target<'_>, revision: &str) -> Answer {
    if let Err(answer) = check_writer(state, asked, target.id.split('/').next().unwrap_or_default()) {
        return answer;
    }
    match committed(state, asked, target, revision) {
        Ok(oid) => {
            let url = format!("{}/{}{}/commit/{oid}", asked.endpoint, target.kind.prefix(), target.id);
            Answer::json(json!({"success": true, "commitOid": oid, "commitUrl": url, "hookOutput": ""}))
        }
        Err((status, reason)) => Answer::refusal(status, "", &reason),
    }
}

fn committed(
    state: &mut State,
    asked: &Asked<'_>,
    target: Target<'_>,
    revision: &str,
) -> Result<String, (u16, String)> {
    let bad = |reason: &str| (400, reason.to_owned());
    let head = state.repository(target.kind, target.id).and_then(|repository| repository.at(revision));
    let head = head.ok_or((404, format!("Invalid rev id: {revision}")))?;
    let (parent, mut files) = (head.oid.clone(), head.files.clone());
    let mut message = String::new();
    for line in asked.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).map_err(|_| bad("a line of the commit is no JSON"))?;
        let value = &line["value"];
        let path = || value["path"].as_str().filter(|path| !path.is_empty()).ok_or_else(|| bad("path is required"));
        match line["key"].as_str() {
            Some("header") => {
                message = value["summary"].as_str().filter(|text| !text.is_empty()).unwrap_or_default().into();
                if value["parentCommit"].as_str().is_some_and(|named| named != parent) {
                    return Err((412, "A commit has happened since. Please refresh and try again.".into()));
                }
            }
            Some("file") => {
                let content = value["content"].as_str().and_then(|content| BASE64_STANDARD.decode(content).ok());
                let blob = Blob::new(content.ok_or_else(|| bad("content is not base64"))?);
                if state.is_large(path()?, blob.size) {
                    return Err(bad("Your push was rejected because it contains large files outside of LFS."));
                }
                files.insert(path()?.into(), state.entry(path()?, blob));
            }
            Some("lfsFile") => {
                let blob = value["oid"].as_str().and_then(|oid| state.objects.get(oid)).cloned();
                let blob = blob.ok_or_else(|| bad("LFS pointer pointed to a file that does not exist"))?;
                files.insert(path()?.into(), Entry { blob, is_large: true });
            }
            Some("deletedFile") => {
                files.remove(path()?).ok_or_else(|| bad("A file with this name doesn't exist"))?;
            }
            Some("deletedFolder") => {
                let prefix = format!("{}/", path()?.trim_end_matches('/'));
                files.retain(|path, _| !path.starts_with(&prefix));
            }
            _ => return Err(bad("a line of the commit has an unknown key")),
        }
    }
    if message.is_empty() {
        return Err(bad("a commit needs a summary"));
    }
    Ok(state.create(target.kind, target.id).commit(revision, &message, files))
}

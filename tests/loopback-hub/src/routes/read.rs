//! What a repository is and holds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Asked, Target};
use crate::{
    address::encode,
    answer::Answer,
    state::{Access, Commit, Entry, State},
};

const PARQUET: &str = "refs/convert/parquet";

fn commit<'a>(state: &'a State, target: Target<'_>, revision: &str) -> Result<&'a Commit, Answer> {
    let found = state.repository(target.kind, target.id).and_then(|repository| repository.at(revision));
    found.ok_or_else(|| Answer::refusal(404, "RevisionNotFound", &format!("Invalid rev id: {revision}")))
}

/// GET `/api/models/ID[/revision/REV]`.
pub(super) fn info(state: &State, asked: &Asked<'_>, target: Target<'_>, revision: &str) -> Answer {
    let commit = match commit(state, target, revision) {
        Ok(commit) => commit,
        Err(answer) => return answer,
    };
    let with_blobs = asked.query("blobs").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let sibling = |(path, entry): (&String, &Entry)| {
        let mut sibling = json!({ "rfilename": path });
        if with_blobs {
            sibling["size"] = entry.blob.size.into();
            sibling["blobId"] = entry.blob.git_sha1.clone().into();
            if entry.is_large {
                sibling["lfs"] = json!({"sha256": entry.blob.sha256, "size": entry.blob.size, "pointerSize": 134});
            }
        }
        sibling
    };
    let access = state.repository(target.kind, target.id).map(|repository| repository.access.clone());
    Answer::json(json!({
        "_id": "0".repeat(24),
        "id": target.id,
        "modelId": target.id,
        "author": target.id.split('/').next(),
        "sha": commit.oid,
        "private": matches!(access, Some(Access::Private(_))),
        "gated": if matches!(access, Some(Access::Gated(_))) { json!("auto") } else { json!(false) },
        "disabled": false,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "lastModified": "2026-01-01T00:00:00.000Z",
        "siblings": commit.files.iter().map(sibling).collect::<Vec<_>>(),
    }))
}

/// GET `/api/models/ID/tree/REV[/FOLDER]`, a page of it.
pub(super) fn tree(state: &State, asked: &Asked<'_>, target: Target<'_>, revision: &str, folder: &str) -> Answer {
    let commit = match commit(state, target, revision) {
        Ok(commit) => commit,
        Err(answer) => return answer,
    };
    let recursive = asked.query("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut entries = BTreeMap::new();
    for (path, entry) in &commit.files {
        let Some(rest) = path.strip_prefix(&prefix) else { continue };
        for (at, _) in rest.match_indices('/') {
            let path = format!("{prefix}{}", &rest[..at]);
            if recursive || !rest[..at].contains('/') {
                let directory = json!({"type": "directory", "oid": "0".repeat(40), "size": 0, "path": path});
                entries.insert(path, directory);
            }
        }
        if recursive || !rest.contains('/') {
            entries.insert(path.clone(), of_file(path, entry));
        }
    }
    if entries.is_empty() && !folder.is_empty() {
        return Answer::refusal(404, "EntryNotFound", &format!("{folder} does not exist on \"{revision}\""));
    }
    let start: usize = asked.query("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let end = start + state.page_size;
    let more = entries.len() > end;
    let page: Vec<Value> = entries.into_values().skip(start).take(state.page_size).collect();
    let answer = Answer::json(page.into());
    if !more {
        return answer;
    }
    let path = asked.request.path.split('?').next().unwrap_or_default();
    let query = asked.query.iter().filter(|(key, _)| key != "cursor");
    let query: String = query.map(|(key, value)| format!("{}={}&", encode(key), encode(value))).collect();
    answer.with("Link", format!("<{}{path}?{query}cursor={end}>; rel=\"next\"", asked.endpoint))
}

fn of_file(path: &str, Entry { blob, is_large }: &Entry) -> Value {
    let mut value = json!({"type": "file", "oid": blob.git_sha1, "size": blob.size, "path": path});
    if *is_large {
        value["lfs"] = json!({"oid": blob.sha256, "size": blob.size, "pointerSize": 134});
    }
    value
}

/// GET and HEAD of a file. Large ones are elsewhere.
pub(super) fn resolve(state: &State, asked: &Asked<'_>, target: Target<'_>, revision: &str, path: &str) -> Answer {
    let commit = match commit(state, target, revision) {
        Ok(commit) => commit,
        Err(answer) => return answer,
    };
    let access = state.repository(target.kind, target.id).map(|repository| &repository.access);
    if let Some(Access::Gated(secret)) = access
        && !state.opens(asked.request, secret)
    {
        let status = if asked.request.token().is_some() { 403 } else { 401 };
        let reason = format!("Access to model {} is restricted and you are not in the authorized list.", target.id);
        return Answer::refusal(status, "GatedRepo", &reason);
    }
    let Some(Entry { blob, is_large }) = commit.files.get(path) else {
        return Answer::refusal(404, "EntryNotFound", "Entry not found").with("X-Repo-Commit", &commit.oid);
    };
    let answer = if *is_large {
        // What Python takes for the same host, it follows to, and misses the headers of the Hub then.
        Answer::new(302, "Found")
            .with("Location", super::lfs::signed(asked, &blob.sha256))
            .with("X-Linked-Etag", format!("\"{}\"", blob.sha256))
            .with("X-Linked-Size", blob.size)
    } else {
        Answer::file(asked.request, blob)
    };
    answer.with("X-Repo-Commit", &commit.oid).with("ETag", format!("\"{}\"", blob.git_sha1))
}

/// GET `/api/datasets/ID/parquet`: the files that the Hub converted, by configuration and split.
pub(super) fn parquet(state: &State, asked: &Asked<'_>, target: Target<'_>) -> Answer {
    let Ok(commit) = commit(state, target, PARQUET) else {
        return Answer::refusal(404, "", "The dataset has no converted files");
    };
    let mut configs: BTreeMap<&str, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for path in commit.files.keys() {
        let parts: Vec<&str> = path.split('/').collect();
        if let [config, split, file] = parts.as_slice()
            && let Some(number) = file.strip_suffix(".parquet").and_then(|number| number.parse::<usize>().ok())
        {
            let url =
                format!("{}/api/datasets/{}/parquet/{config}/{split}/{number}.parquet", asked.endpoint, target.id);
            configs.entry(config).or_default().entry(split).or_default().push(url);
        }
    }
    Answer::json(json!(configs))
}

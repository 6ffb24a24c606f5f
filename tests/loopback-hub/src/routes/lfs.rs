//! Large files: where they come from and go to.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Asked, Target, check_writer};
use crate::{answer::Answer, blob::Blob, state::State};

/// What stands in addresses of the storage that the Hub gave out.
const SIGNATURE: &str = "X-Amz-Signature=signed";

/// The address of an object.
pub(super) fn signed(asked: &Asked<'_>, oid: &str) -> String {
    format!("{}/objects/{oid}?{SIGNATURE}", asked.store)
}

/// GET, HEAD and PUT of `/objects/OID[/PART]` at the storage. It wants an address that was given out, and no token.
pub(super) fn object(state: &mut State, asked: Asked<'_>, rest: &[&str]) -> Answer {
    if asked.request.authorization.is_some() {
        return Answer::new(400, "<Error><Message>Only one auth mechanism allowed</Message></Error>");
    }
    if asked.query("X-Amz-Signature") != Some("signed") {
        return Answer::new(403, "<Error><Code>AccessDenied</Code></Error>");
    }
    let missing = || Answer::new(404, "<Error><Code>NoSuchKey</Code></Error>");
    match (asked.request.method.as_str(), rest) {
        ("GET" | "HEAD", [oid]) => match state.objects.get(*oid) {
            // Storage has names of its own for contents.
            Some(blob) => Answer::file(asked.request, blob).with("ETag", "\"storage\""),
            None => missing(),
        },
        ("PUT", [_, ..]) if asked.request.header("content-length").is_none() => Answer::new(411, ""),
        ("PUT", [oid]) => {
            let blob = Blob::new(asked.body);
            if blob.sha256 != *oid {
                return Answer::new(400, "<Error><Code>XAmzContentSHA256Mismatch</Code></Error>");
            }
            state.objects.insert(blob.sha256.clone(), Arc::new(blob));
            Answer::new(200, "").with("ETag", "\"storage\"")
        }
        ("PUT", [oid, part]) => match part.parse() {
            Ok(number) => {
                let blob = Blob::new(asked.body);
                let etag = format!("\"{}\"", blob.git_sha1);
                state.parts.entry((*oid).into()).or_default().insert(number, blob);
                Answer::new(200, "").with("ETag", etag)
            }
            Err(_) => missing(),
        },
        _ => missing(),
    }
}

/// POST `/ID.git/info/lfs/objects/batch`: what to do with objects that somebody wants to push.
pub(super) fn batch(state: &State, asked: &Asked<'_>, target: Target<'_>) -> Answer {
    if let Err(answer) = check_writer(state, asked, target.id.split('/').next().unwrap_or_default()) {
        return answer;
    }
    let wanted: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let Some(objects) = wanted["objects"].as_array().filter(|_| wanted["operation"] == "upload") else {
        return Answer::refusal(400, "", "Invalid batch");
    };
    let takes_parts = wanted["transfers"].as_array().is_some_and(|names| names.iter().any(|name| name == "multipart"));
    let mut transfer = "basic";
    let mut answers = Vec::new();
    for object in objects {
        let (Some(oid), Some(size)) = (object["oid"].as_str(), object["size"].as_u64()) else {
            return Answer::refusal(400, "", "Invalid object");
        };
        let mut answer = json!({"oid": oid, "size": size, "authenticated": true});
        if !state.objects.contains_key(oid) {
            let in_parts = size > state.part_size && takes_parts;
            let upload = if in_parts { in_parts_of(asked, oid, size, state.part_size) } else { whole(asked, oid) };
            transfer = if in_parts { "multipart" } else { transfer };
            let verify =
                format!("{}/{}{}.git/info/lfs/objects/verify", asked.endpoint, target.kind.prefix(), target.id);
            answer["actions"] = json!({"upload": upload, "verify": {"href": verify}});
        }
        answers.push(answer);
    }
    let value = json!({"transfer": transfer, "objects": answers, "hash_algo": "sha256"});
    Answer::new(200, value.to_string()).with("Content-Type", "application/vnd.git-lfs+json")
}

fn whole(asked: &Asked<'_>, oid: &str) -> Value {
    json!({"href": signed(asked, oid), "header": {"Content-Type": "application/octet-stream"}})
}

fn in_parts_of(asked: &Asked<'_>, oid: &str, size: u64, part_size: u64) -> Value {
    let mut header = json!({"chunk_size": part_size.to_string()});
    for number in 1..=size.div_ceil(part_size) {
        header[format!("{number:05}")] = signed(asked, &format!("{oid}/{number}")).into();
    }
    json!({"href": format!("{}/api/complete_multipart?oid={oid}&{SIGNATURE}", asked.endpoint), "header": header})
}

/// POST `/api/complete_multipart`: puts the parts of an object together.
pub(super) fn complete(state: &mut State, asked: &Asked<'_>) -> Answer {
    let wanted: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let oid = asked.query("oid").unwrap_or_default();
    if asked.query("X-Amz-Signature") != Some("signed") || wanted["oid"] != oid {
        return Answer::refusal(403, "", "Invalid signature");
    }
    let parts = state.parts.remove(oid).unwrap_or_default();
    let named = wanted["parts"].as_array().cloned().unwrap_or_default();
    let is_named = |(part, (number, blob)): (&Value, (&usize, &Blob))| {
        part["partNumber"].as_u64() == Some(*number as u64)
            && part["etag"].as_str() == Some(&format!("\"{}\"", blob.git_sha1))
    };
    if named.len() != parts.len() || !named.iter().zip(&parts).all(is_named) {
        return Answer::refusal(400, "", "The parts are not those that came");
    }
    let blob = Blob::new(parts.values().flat_map(Blob::bytes).collect());
    if blob.sha256 != oid {
        return Answer::refusal(400, "", "The parts are not the object");
    }
    state.objects.insert(blob.sha256.clone(), Arc::new(blob));
    Answer::json(json!({ "success": true }))
}

/// POST to verify: whether an object is there as a whole.
pub(super) fn verify(state: &State, asked: &Asked<'_>) -> Answer {
    let wanted: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    match wanted["oid"].as_str().and_then(|oid| state.objects.get(oid)) {
        Some(blob) if wanted["size"].as_u64() == Some(blob.size) => Answer::json(json!({})),
        Some(_) => Answer::refusal(422, "", "The object has another size"),
        None => Answer::refusal(404, "", "The object does not exist"),
    }
}

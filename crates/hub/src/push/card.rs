//! The Hub's own look at a card, before anything is pushed: a commit with a card that it refuses is refused as a whole.

use std::fs;

use serde_json::{Value, json};

use super::files::LocalFile;
use crate::{
    error::{HubError, Result},
    http::{Body, Request, Subject, quoted},
    hub::Hub,
};

/// Refuses a card that the Hub refuses; tells what the Hub warns of.
pub(super) fn check(hub: &Hub, card: &LocalFile) -> Result<()> {
    let content = fs::read(&card.file).map_err(|error| HubError::io(&card.file, error))?;
    let refuse = |reason: String| HubError::Card { path: card.file.clone(), reason };
    let content = String::from_utf8(content).map_err(|_| refuse("it is not UTF-8".into()))?;
    let body = json!({"repoType": "model", "content": content}).to_string();
    let subject = Subject::Other("the model card");
    let request = Request::post("/api/validate-yaml", subject)
        .header("Content-Type", "application/json")
        .body(Body::Bytes(body.as_bytes()));
    let answer = hub.http().send_accepting(&request, &[400])?;
    let said = answer.json(subject)?;
    let errors = messages(&said["errors"]);
    if !errors.is_empty() {
        return Err(refuse(quoted(hub, &errors.join("; "))));
    }
    if answer.status == 400 {
        return Err(refuse(quoted(hub, said["error"].as_str().unwrap_or("it does not say why"))));
    }
    for warning in messages(&said["warnings"]) {
        hub.progress().note(&format!("{}: the Hub warns: {}", card.file.display(), quoted(hub, warning)));
    }
    Ok(())
}

fn messages(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["message"].as_str()).collect()
}

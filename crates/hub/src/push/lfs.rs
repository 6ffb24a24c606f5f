//! Large files to storage, by Git LFS: a batch asks where to, and says what is there already.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{AT_A_TIME, Push, files::LocalFile, multipart};
use crate::{
    error::{HubError, Result},
    http::{Body, Request, Response, Subject, quoted},
};

/// The type of JSON that LFS speaks.
const LFS_JSON: &str = "application/vnd.git-lfs+json";
/// How often storage may refuse an object before that is an error: addresses expire, and new ones are asked for.
const ROUNDS: u32 = 3;
/// Storage puts an object together before it answers.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// Headers of an address that are this crate's to write.
const OWN_HEADERS: [&str; 3] = ["content-length", "transfer-encoding", "host"];

/// A large file and the name of its content.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) file: &'a LocalFile,
    /// SHA-256.
    pub(super) oid: String,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Answer>,
    hash_algo: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    oid: String,
    actions: Option<Actions>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: Option<u16>,
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Actions {
    upload: Option<Link>,
    verify: Option<Link>,
}

/// Where something goes. It is signed, so nothing of it is shown.
#[derive(Deserialize)]
pub(super) struct Link {
    pub(super) href: String,
    #[serde(default)]
    pub(super) header: Map<String, Value>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({})", crate::http::shown(&self.href))
    }
}

impl Push<'_> {
    /// Brings objects to storage; tells how many were there already.
    pub(super) fn upload(&self, objects: &[&Object<'_>]) -> Result<usize> {
        let mut actions = BTreeMap::new();
        for objects in objects.chunks(AT_A_TIME) {
            actions.extend(self.batch(objects)?);
        }
        let known = objects.iter().filter(|object| !actions.contains_key(&object.oid));
        let (known, done) = known.fold((0, 0), |(count, bytes), object| (count + 1, bytes + object.file.size()));
        let total = objects.iter().map(|object| object.file.size()).sum();
        let progress = self.hub.progress();
        if actions.is_empty() {
            return Ok(known);
        }
        progress.begin("uploading", total, done);
        let mut sent = BTreeSet::new();
        let all = objects.iter().try_for_each(|object| match actions.remove(&object.oid) {
            Some(actions) => {
                sent.insert(object.oid.as_str());
                self.upload_one(object, actions)
            }
            None if sent.contains(object.oid.as_str()) => {
                progress.advance(object.file.size());
                Ok(())
            }
            None => Ok(()),
        });
        progress.end();
        all.map(|()| known)
    }

    fn upload_one(&self, object: &Object<'_>, mut actions: Actions) -> Result<()> {
        let sent = Arc::default();
        for round in 1.. {
            match self.send_object(object, &actions, &sent) {
                Err(HubError::Status { status, .. }) if (400..500).contains(&status) && round < ROUNDS => {
                    let path = &object.file.path;
                    self.hub.progress().note(&format!("{path}: refused with {status}, asking for another address"));
                }
                result => return result,
            }
            match self.batch(&[object])?.remove(&object.oid) {
                Some(again) => actions = again,
                // It came whole, only the answer did not.
                None => return Ok(()),
            }
        }
        unreachable!("invariant: the last round returns")
    }

    fn send_object(&self, object: &Object<'_>, actions: &Actions, sent: &Arc<AtomicU64>) -> Result<()> {
        let Object { file, oid } = object;
        if let Some(link) = &actions.upload {
            match multipart::parts(link, file.size()) {
                Ok(None) => drop(self.put(file, &link.href, &link.header, (0, file.size()), sent)?),
                Ok(Some(parts)) => self.send_parts(object, link, &parts, sent)?,
                Err(reason) => return Err(self.not_a_hub(format!("the parts of {}: {reason}", file.path))),
            }
        }
        file.check()?;
        if let Some(verify) = &actions.verify {
            let what = format!("verifying {} of {}", file.path, self.repo);
            self.post(&verify.href, &what, &json!({"oid": oid, "size": file.size()}), true)?;
        }
        Ok(())
    }

    /// Sends bytes of a file, from a start so many.
    pub(super) fn put(
        &self,
        file: &LocalFile,
        href: &str,
        header: &Map<String, Value>,
        (start, length): (u64, u64),
        sent: &Arc<AtomicU64>,
    ) -> Result<Response> {
        self.check_address(href)?;
        let open = || Ok(Box::new(file.part(self.hub, start, length, sent)?) as Box<dyn Read>);
        let mut request = Request::put(href, Subject::File(self.repo, &file.path))
            .body(Body::Reader { open: &open, length })
            .patience(PATIENCE)
            .without_token();
        for (name, value) in header {
            if let Some(value) =
                value.as_str().filter(|_| !OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)))
            {
                request = request.header(name, value);
            }
        }
        self.hub.http().send(&request)
    }

    /// Sends JSON of LFS to an address that the Hub gave.
    pub(super) fn post(&self, href: &str, what: &str, value: &Value, with_token: bool) -> Result<Response> {
        self.check_address(href)?;
        self.post_lfs(href, Subject::Other(what), value, with_token)
    }

    fn post_lfs(&self, url: &str, subject: Subject<'_>, value: &Value, with_token: bool) -> Result<Response> {
        let body = value.to_string();
        let request = Request::post(url, subject).header("Content-Type", LFS_JSON).header("Accept", LFS_JSON);
        let request = request.body(Body::Bytes(body.as_bytes())).patience(PATIENCE);
        self.hub.http().send(&if with_token { request } else { request.without_token() })
    }

    /// What is to be done for each object that is not there.
    fn batch(&self, objects: &[&Object<'_>]) -> Result<BTreeMap<String, Actions>> {
        let wanted: Vec<Value> =
            objects.iter().map(|object| json!({"oid": object.oid, "size": object.file.size()})).collect();
        let value = json!({
            "operation": "upload", "transfers": ["basic", "multipart"], "objects": wanted, "hash_algo": "sha256",
        });
        let (subject, url) =
            (Subject::Repo(self.repo), format!("/{}.git/info/lfs/objects/batch", self.repo.url_path()));
        let answer = self.post_lfs(&url, subject, &value, true)?.json(subject)?;
        let batch: Batch = serde_json::from_value(answer)
            .map_err(|error| self.not_a_hub(format!("what is to be done with large files: {error}")))?;
        if batch.hash_algo.as_deref().is_some_and(|name| name != "sha256") {
            return Err(self.not_a_hub("large files under other names than their SHA-256".into()));
        }
        let mut answers: BTreeMap<String, Answer> =
            batch.objects.into_iter().map(|answer| (answer.oid.clone(), answer)).collect();
        let mut actions = BTreeMap::new();
        for object in objects {
            if actions.contains_key(&object.oid) {
                continue;
            }
            let path = &object.file.path;
            let Some(answer) = answers.get_mut(&object.oid) else {
                return Err(self.not_a_hub(format!("it does not say where {path} goes")));
            };
            if let Some(Refusal { code, message }) = answer.error.take() {
                let reason = quoted(self.hub, message.as_deref().unwrap_or("it does not say why"));
                let reason = code.map_or_else(|| reason.clone(), |code| format!("{code}: {reason}"));
                return Err(HubError::Forbidden { what: Subject::File(self.repo, path).to_string(), reason });
            }
            if let Some(todo) = answer.actions.take() {
                actions.insert(object.oid.clone(), todo);
            }
        }
        Ok(actions)
    }

    fn check_address(&self, href: &str) -> Result<()> {
        match crate::http::origin(href) {
            Some(_) => Ok(()),
            None => Err(self.not_a_hub("an address for large files that is none".into())),
        }
    }
}

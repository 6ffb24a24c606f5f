//! A Hub with one repository, and a client that does not sleep.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use cogview4_hub::{Hub, Repo, Timeouts, Token};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::server::{Answer, Asked, Server};

pub(crate) const TOKEN: &str = "hf_secret";
pub(crate) const COMMIT: &str = "0123456789012345678901234567890123456789";
pub(crate) const WEIGHTS: &str = "transformer/model.safetensors";

pub(crate) fn repo() -> Repo {
    Repo::model("THUDM/Tiny".parse().expect("a name"))
}

/// A repository: paths, contents, and whether they are large files.
#[derive(Debug, Clone)]
pub(crate) struct Content(pub(crate) Vec<(String, Vec<u8>, bool)>);

impl Default for Content {
    fn default() -> Self {
        Self(vec![
            ("config.json".into(), b"{\"a\": 1}".to_vec(), false),
            ("empty.txt".into(), Vec::new(), false),
            ("tokenizer/a b.json".into(), b"{}".to_vec(), false),
            (WEIGHTS.into(), noise(300_000), true),
        ])
    }
}

/// Bytes that no two places share for long.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

pub(crate) fn git_sha1(bytes: &[u8]) -> String {
    hex(Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat()))
}

impl Content {
    pub(crate) fn get(&self, path: &str) -> Option<&(String, Vec<u8>, bool)> {
        self.0.iter().find(|(own, ..)| own == path)
    }

    /// The entries of a listing.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let entry = |(path, bytes, is_large): &(String, Vec<u8>, bool)| {
            let mut entry = json!({"type": "file", "path": path, "size": bytes.len(), "oid": git_sha1(bytes)});
            if *is_large {
                entry["lfs"] = json!({"oid": sha256(bytes), "size": bytes.len(), "pointerSize": 134});
            }
            entry
        };
        self.0.iter().map(entry).collect()
    }

    /// What a Hub answers.
    pub(crate) fn answer(&self, asked: &Asked, port: u16) -> Answer {
        let path = asked.path.split('?').next().unwrap_or_default().replace("%20", " ");
        let json = |value: Value| Answer::new(200, value.to_string()).with("Content-Type", "application/json");
        if path.starts_with("/api/models/THUDM/Tiny/revision/") {
            return json(json!({"id": "THUDM/Tiny", "sha": COMMIT, "private": false}));
        }
        if path == format!("/api/models/THUDM/Tiny/tree/{COMMIT}") {
            return json(Value::from(self.entries()));
        }
        if let Some(oid) = path.strip_prefix("/lfs/") {
            let Some(content) = self.0.iter().find(|(_, bytes, _)| sha256(bytes) == oid) else {
                return Answer::new(404, "");
            };
            return ranged(asked, &content.1).with("ETag", "\"storage\"");
        }
        let Some(content) =
            path.strip_prefix(&format!("/THUDM/Tiny/resolve/{COMMIT}/")).and_then(|path| self.get(path))
        else {
            return Answer::new(404, "").with("X-Error-Code", "EntryNotFound");
        };
        let (_, bytes, is_large) = content;
        if !is_large {
            return ranged(asked, bytes).with("ETag", format!("\"{}\"", git_sha1(bytes))).with("X-Repo-Commit", COMMIT);
        }
        // On another host name, so that a token which goes along is seen.
        Answer::new(302, "Found")
            .with("Location", format!("http://localhost:{port}/lfs/{}?X-Amz-Signature=signed", sha256(bytes)))
            .with("X-Linked-Etag", format!("\"{}\"", sha256(bytes)))
            .with("X-Linked-Size", bytes.len())
            .with("ETag", format!("\"{}\"", git_sha1(bytes)))
            .with("X-Repo-Commit", COMMIT)
    }
}

fn ranged(asked: &Asked, bytes: &[u8]) -> Answer {
    match asked.range() {
        None => Answer::new(200, bytes),
        Some(start) if start >= bytes.len() => Answer::new(416, ""),
        Some(start) => Answer::new(206, &bytes[start..])
            .with("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
    }
}

/// What a test needs: a server, a client, a cache.
pub(crate) struct Fixture {
    pub(crate) content: Content,
    pub(crate) server: Server,
    pub(crate) cache: tempfile::TempDir,
    /// Waits that the client would have made.
    pub(crate) waits: Arc<Mutex<Vec<Duration>>>,
}

impl Fixture {
    /// A server that answers as a Hub, except for what `change` makes of its answers.
    pub(crate) fn new(change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> Self {
        Self::with_content(Content::default(), change)
    }

    pub(crate) fn with_content(
        content: Content,
        change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let server = Server::start({
            let content = content.clone();
            move |asked, port| change(asked, content.answer(asked, port))
        });
        Self { content, server, cache: tempfile::tempdir().expect("a folder"), waits: Arc::default() }
    }

    pub(crate) fn hub(&self) -> Hub {
        self.hub_at(&self.server.url())
    }

    pub(crate) fn hub_at(&self, url: &str) -> Hub {
        let waits = self.waits.clone();
        let short = Duration::from_millis(200);
        Hub::default()
            .with_endpoint(url)
            .with_cache_dir(self.cache.path())
            .with_token(Some(Token::new(TOKEN)))
            .with_timeouts(Timeouts { connect: Duration::from_secs(2), first_byte: short, stall: short })
            .with_sleep(Arc::new(move |wait| waits.lock().expect("no panic").push(wait)))
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.cache.path().join("models--THUDM--Tiny").join(path)
    }

    /// Everything in the cache is whole: every content bears its own sum, every link leads to its content.
    pub(crate) fn check_cache(&self) {
        for entry in fs::read_dir(self.at("blobs")).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().expect("text");
            let Ok(bytes) = fs::read(entry.path()) else { continue };
            assert!(name.ends_with(".incomplete") || [sha256(&bytes), git_sha1(&bytes)].contains(&name), "{name}");
        }
        for (path, bytes, _) in &self.content.0 {
            let found = self.at("snapshots").join(COMMIT).join(path);
            if found.is_file() {
                assert!(fs::read(&found).expect("readable") == *bytes, "{path} is not what the Hub has");
            }
        }
    }

    /// A folder holds all files, whole.
    pub(crate) fn check_snapshot(&self, folder: &Path) {
        for (path, bytes, _) in &self.content.0 {
            assert!(fs::read(folder.join(path)).expect(path) == *bytes, "{path} is not what the Hub has");
        }
    }
}

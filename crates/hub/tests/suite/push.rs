//! Pushes to a Hub on loopback.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use cogview4_hub::{Hub, Progress, PushOptions, RepoId, Timeouts, Token};
use loopback_hub::{Fault, Kind, LoopbackHub, Request, Role};

use crate::hub::noise;

pub(crate) const TOKEN: &str = "hf_verysecret";
pub(crate) const ID: &str = "tester/pose-control";
pub(crate) const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

pub(crate) fn id() -> RepoId {
    ID.parse().expect("a name")
}

/// Notes that a push makes, and bytes that it tells of.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) notes: Mutex<Vec<String>>,
    /// Total and done of the upload.
    bytes: Mutex<(u64, i64)>,
}

impl Progress for Told {
    fn begin(&self, what: &str, total: u64, done: u64) {
        if what == "uploading" {
            *self.bytes.lock().expect("whole") = (total, done as i64);
        }
    }

    fn advance(&self, bytes: u64) {
        self.bytes.lock().expect("whole").1 += bytes as i64;
    }

    fn lose(&self, bytes: u64) {
        self.bytes.lock().expect("whole").1 -= bytes as i64;
    }

    fn note(&self, line: &str) {
        self.notes.lock().expect("whole").push(line.into());
    }
}

pub(crate) struct Place {
    pub(crate) server: LoopbackHub,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) told: Arc<Told>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let server = LoopbackHub::start();
        server.add_token(TOKEN, Role::Write);
        server.add_token("hf_reader", Role::Read);
        let folder = tempfile::tempdir().expect("a folder");
        let place = Self { server, folder, told: Arc::default() };
        place.write("README.md", b"---\nlicense: other\ntags:\n- cogview4\n---\n# Pose\n");
        place.write("config.json", b"{\"in_channels\": 32}");
        place.write("empty.txt", b"");
        place.write("validation/step 1.png", &noise(5_000));
        place.write(WEIGHTS, &noise(300_001));
        place.write("more-00001.safetensors", &noise(150_000)[1..]);
        place.write(".lock", b"");
        place.write("checkpoint-1/.hidden/optimizer.safetensors", b"secret");
        place
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    pub(crate) fn hub(&self, token: &str) -> Hub {
        let wait = Duration::from_secs(5);
        Hub::default()
            .with_endpoint(&self.server.endpoint())
            .with_token(Some(Token::new(token)))
            .with_timeouts(Timeouts { connect: wait, first_byte: wait, stall: wait })
            .with_progress(self.told.clone())
            .with_sleep(Arc::new(|_| {}))
    }

    pub(crate) fn push(&self) -> Result<cogview4_hub::Pushed, String> {
        self.push_as(TOKEN, false)
    }

    pub(crate) fn push_as(&self, token: &str, private: bool) -> Result<cogview4_hub::Pushed, String> {
        let options = PushOptions { private, ..PushOptions::default() };
        let pushed = self.hub(token).push(&id(), self.folder.path(), &options).map_err(|error| error.to_string());
        if let Err(error) = &pushed {
            assert!(!error.contains('\n') && !error.contains("verysecret") && !error.contains("X-Amz"), "{error}");
        }
        pushed
    }

    /// Everything is there, byte for byte, and nothing else; the token went to the Hub alone.
    pub(crate) fn check(&self) {
        let files = self.server.files(Kind::Model, ID, "main");
        let mut paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        paths.retain(|path| *path != ".gitattributes");
        let expected =
            ["README.md", "config.json", WEIGHTS, "empty.txt", "more-00001.safetensors", "validation/step 1.png"];
        assert_eq!(paths, expected);
        for (path, bytes) in &files {
            if path != ".gitattributes" {
                assert!(fs::read(self.folder.path().join(path)).expect("read") == *bytes, "{path}");
            }
        }
        check_tokens(&self.server.requests());
    }

    pub(crate) fn puts(&self) -> usize {
        self.server.take_requests().iter().filter(|request| request.method == "PUT").count()
    }
}

fn check_tokens(requests: &[Request]) {
    for request in requests {
        assert!(!request.is_to_store() || request.authorization.is_none(), "{request:?}");
        let said = format!("{} {}", request.path, String::from_utf8_lossy(&request.body));
        assert!(!said.contains("verysecret"), "the token is in a header only: {said}");
    }
}

#[test]
fn everything_arrives_byte_for_byte() {
    let place = Place::new();
    let pushed = place.push().expect("pushed");
    place.check();
    let commits = place.server.commits(Kind::Model, ID);
    assert_eq!(commits.len(), 2, "{commits:?}");
    assert_eq!((pushed.commit.as_deref(), commits[1].1.as_str()), (Some(commits[1].0.as_str()), "End of training"));
    assert_eq!(pushed.url, format!("{}/{ID}", place.server.endpoint()));
    assert_eq!((pushed.uploaded, pushed.reused), (6, 0));
    assert_eq!(place.server.is_private(Kind::Model, ID), Some(false));
    assert_eq!(*place.told.bytes.lock().expect("whole"), (450_000, 450_000));
    assert_eq!(place.puts(), 2);

    // The same once more: nothing is to be done, and that is said.
    let again = place.push().expect("nothing to do");
    assert_eq!((again.commit, again.uploaded, again.reused), (None, 0, 6));
    assert_eq!(place.puts(), 0);
    assert_eq!(place.server.commits(Kind::Model, ID).len(), 2);
    let notes = place.told.notes.lock().expect("whole").clone();
    assert_eq!(notes, [format!("{ID}: has all of these files already, nothing to commit")]);

    // Only what is new goes.
    place.write("config.json", b"{\"in_channels\": 64}");
    let again = place.push().expect("pushed");
    assert_eq!((again.uploaded, again.reused, place.puts()), (1, 5, 0));
    place.check();
}

#[test]
fn files_of_an_earlier_model_go() {
    let place = Place::new();
    place.push().expect("pushed");
    fs::remove_file(place.folder.path().join("more-00001.safetensors")).expect("removed");
    fs::remove_file(place.folder.path().join("empty.txt")).expect("removed");
    let replace = |path: &str| path.ends_with(".safetensors");
    let options = PushOptions { replace: &replace, ..PushOptions::default() };
    let pushed = place.hub(TOKEN).push(&id(), place.folder.path(), &options).expect("pushed");
    assert!(pushed.commit.is_some() && pushed.uploaded == 0);
    let paths: Vec<String> = place.server.files(Kind::Model, ID, "main").into_iter().map(|(path, _)| path).collect();
    assert!(paths.iter().any(|path| path == "empty.txt") && !paths.iter().any(|path| path.starts_with("more")));
    assert!(paths.iter().any(|path| path == WEIGHTS), "{paths:?}");
}

#[test]
fn large_files_go_in_parts() {
    let place = Place::new();
    place.server.set_part_size(100_000);
    place.server.fault("/2?", [Fault::CutRequest { after: 50_000 }, Fault::status(503), Fault::NoAnswer]);
    place.push().expect("pushed");
    place.check();
    let puts: Vec<Request> = place.server.requests().into_iter().filter(|request| request.method == "PUT").collect();
    // 4 parts and 2 parts, and the three that failed.
    assert_eq!(puts.len(), 9);
    assert!(puts.iter().all(|put| put.bytes_received <= 100_000));
    assert_eq!(*place.told.bytes.lock().expect("whole"), (450_000, 450_000));
}

#[test]
fn what_fails_is_tried_again() {
    for fault in [
        Fault::status(500),
        Fault::status(503),
        Fault::status(429).with_header("Retry-After", "1"),
        Fault::NoAnswer,
        Fault::CutRequest { after: 3 },
        Fault::Cut { after: 1 },
    ] {
        let place = Place::new();
        let paths = ["validate-yaml", "repos/create", "preupload", "objects/batch", "/objects/", "verify", "/commit/"];
        for path in paths {
            place.server.fault(path, [fault.clone()]);
        }
        place.push().unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        place.check();
        assert_eq!(place.told.bytes.lock().expect("whole").1, 450_000, "{fault:?}");
    }
}

#[test]
fn addresses_that_expired_are_asked_for_again() {
    for part_size in [u64::MAX, 100_000] {
        let place = Place::new();
        place.server.set_part_size(part_size);
        place.server.fault("X-Amz-Signature", [Fault::status(403)]);
        place.server.fault("complete_multipart", [Fault::NoAnswer]);
        place.push().expect("pushed");
        place.check();
        assert_eq!(place.told.bytes.lock().expect("whole").1, 450_000);
    }
    let place = Place::new();
    place.server.on(|request| (request.method == "PUT").then(|| Fault::status(403)));
    let error = place.push().expect_err("refused for good");
    assert!(error.contains(WEIGHTS) && error.ends_with("answers 403"), "{error}");
    assert_eq!(place.puts(), 3);
}

#[test]
fn a_push_that_failed_goes_on() {
    let place = Place::new();
    place.server.on(|request| request.path.contains("/commit/").then(|| Fault::status(500)));
    let error = place.push().expect_err("failed");
    assert!(error.contains(ID) && error.contains("500"), "{error}");
    assert_eq!(place.puts(), 2);
    assert_eq!(place.server.commits(Kind::Model, ID).len(), 1, "all or nothing");
    place.server.clear_faults();
    let pushed = place.push().expect("pushed");
    assert_eq!((pushed.uploaded, pushed.reused, place.puts()), (4, 2, 0));
    place.check();
}

#[test]
fn files_that_change_meanwhile_are_not_pushed() {
    for (at, path) in [("preupload", WEIGHTS), ("/objects/", WEIGHTS), ("verify", "config.json"), ("verify", WEIGHTS)] {
        let place = Place::new();
        let file = place.folder.path().join(path);
        let times = Mutex::new(0);
        place.server.on(move |request| {
            let mut times = times.lock().expect("whole");
            if request.path.contains(at) && *times == 0 {
                *times += 1;
                let content = fs::read(&file).expect("read");
                fs::write(&file, content.iter().rev().copied().collect::<Vec<_>>()).expect("written");
            }
            None
        });
        let error = place.push().expect_err(at);
        assert!(error.contains(path) && error.contains("changed while it was pushed"), "{at}: {error}");
        assert_eq!(place.server.commits(Kind::Model, ID).len(), 1, "{at}");
    }
}

//! Answers that no Hub should give: each ends in one clear line, and leaves nothing wrong in the cache.

use std::{fs, sync::atomic::AtomicU64, sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};

use crate::{
    hub::{COMMIT, Fixture, TOKEN, WEIGHTS, noise, repo, sha256},
    server::{Answer, Asked, Body},
};

/// Kinds of requests.
const INFO: &str = "/revision/";
const TREE: &str = "/tree/";
const FILE: &str = "/resolve/";
const STORAGE: &str = "/lfs/";

/// Downloads from a Hub whose answers of one kind are changed, and gives the error; then downloads from a sound one
/// into the same cache, which must succeed.
fn refused(kind: &'static str, change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> (String, Fixture) {
    let fixture =
        Fixture::new(move |asked, answer| if asked.path.contains(kind) { change(asked, answer) } else { answer });
    let error = fixture.hub().snapshot(&repo(), |_| true).expect_err("hostile").to_string();
    assert!(!error.contains('\n') && !error.contains(TOKEN) && !error.contains("Signature"), "{error}");
    for asked in fixture.server.take_log() {
        let to_hub = asked.header("host").is_some_and(|host| host.starts_with("127.0.0.1"));
        assert!(to_hub || asked.header("authorization").is_none(), "the token went to {}", asked.path);
    }
    fixture.check_cache();
    assert!(!fixture.at("refs/main").exists(), "the ref comes last");
    let sound = Fixture::new(|_, answer| answer);
    let folder = fixture.hub_at(&sound.server.url()).snapshot(&repo(), |_| true).expect("the cache is sound");
    fixture.check_snapshot(&folder);
    (error, fixture)
}

#[track_caller]
fn check(
    kind: &'static str,
    expected: &str,
    change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
) -> Fixture {
    let (error, fixture) = refused(kind, change);
    let url = fixture.server.url();
    let shown = error.replace(&url, "HUB").replace(&url.replace("127.0.0.1", "localhost"), "STORAGE");
    assert!(shown.contains(expected), "{shown}\nhas no\n{expected}");
    fixture
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    let answer = Answer::new(status, json!({"error": message}).to_string());
    if code.is_empty() { answer } else { answer.with("X-Error-Code", code).with("X-Error-Message", message) }
}

#[test]
fn refusals_are_told_apart() {
    let missing = "THUDM/Tiny: there is no such model on HUB, or it is private";
    check(INFO, missing, |_, _| error(401, "", "Invalid username or password."));
    check(INFO, missing, |_, _| error(404, "RepoNotFound", "Repository not found"));
    check(INFO, "HUB refuses the token: set HF_TOKEN", |_, _| {
        error(401, "", "x").with("X-Error-Message", "Invalid credentials in Authorization header")
    });
    let gated = "THUDM/Tiny: gated: accept its terms at HUB/THUDM/Tiny, then set HF_TOKEN";
    check(FILE, gated, |_, _| error(403, "GatedRepo", "Access to model THUDM/Tiny is restricted"));
    check(FILE, gated, |_, _| error(401, "GatedRepo", "Access to model THUDM/Tiny is restricted"));
    check(INFO, "THUDM/Tiny: there is no revision main", |_, _| error(404, "RevisionNotFound", "Invalid rev id: main"));
    check(FILE, "THUDM/Tiny: there is no file config.json", |_, _| error(404, "EntryNotFound", "Entry not found"));
    let disabled = "Access to this resource is disabled.";
    check(INFO, "THUDM/Tiny: the Hub has disabled access to it", move |_, _| error(403, "", disabled));
    let said = format!("not for {TOKEN}\r\nat all");
    check(FILE, "config.json of THUDM/Tiny: forbidden: not for ***  at all", move |_, _| error(403, "", &said));
    check(STORAGE, "model.safetensors of THUDM/Tiny: STORAGE answers 403", |_, _| {
        Answer::new(403, "<Error>SignatureDoesNotMatch X-Amz-Signature=signed</Error>")
    });
    check(INFO, "THUDM/Tiny: HUB answers 418: a teapot", |_, _| error(418, "", "a teapot"));
}

#[test]
fn busy_servers_are_asked_again_as_they_wish() {
    let seconds = |fixture: &Fixture| -> Vec<u64> {
        fixture.waits.lock().expect("no panic").iter().map(Duration::as_secs).collect()
    };
    let busy = "THUDM/Tiny: too many requests (429), it asks for 7 s of patience: try again later";
    let fixture = check(INFO, busy, |_, _| error(429, "", "slow down").with("Retry-After", 7));
    assert_eq!(seconds(&fixture), [7, 7, 7, 7]);
    let fixture = check(INFO, "asks for 3600 s", |_, _| error(429, "", "slow down").with("Retry-After", 3600));
    assert_eq!(seconds(&fixture), [0u64; 0], "nobody waits for an hour");
    let fixture = check(TREE, "THUDM/Tiny: HUB answers 500: oops", |_, _| error(500, "", "oops"));
    assert_eq!(seconds(&fixture), [1, 2, 4, 8]);
    let fixture = check(STORAGE, "STORAGE answers 503", |_, _| Answer::new(503, "X-Amz-Signature=signed"));
    assert_eq!(seconds(&fixture), [1, 2, 4, 8]);
    check(FILE, "config.json of THUDM/Tiny: HUB answers 502", |_, _| Answer::new(502, "<html>Bad gateway</html>"));
}

#[test]
fn a_silent_server_is_given_up() {
    // The head never comes: no byte at all, with the connection open.
    let fixture = Fixture::new(|_, answer| answer);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let error = fixture.hub_at(&url).snapshot(&repo(), |_| true).expect_err("silent").to_string();
    assert_eq!(error, format!("THUDM/Tiny: cannot reach {url}: no answer within 0.2 s"));
    drop(silent);
    let error = fixture.hub_at(&url).snapshot(&repo(), |_| true).expect_err("nobody").to_string();
    assert!(error.starts_with(&format!("THUDM/Tiny: cannot reach {url}: ")) && error.contains("refused"), "{error}");
    let error =
        fixture.hub_at("http://no-such-host.invalid").snapshot(&repo(), |_| true).expect_err("no host").to_string();
    assert!(error.starts_with("THUDM/Tiny: cannot reach http://no-such-host.invalid: "), "{error}");
}

#[test]
fn bodies_that_stop_end_are_cut_or_have_no_end() {
    check(INFO, "THUDM/Tiny: cannot reach HUB: ", |_, answer| answer.with_body(Body::Raw(Vec::new())));
    let cut = "transformer/model.safetensors of THUDM/Tiny: cut after 0 of 300000 bytes: the connection was closed; \
               what came is kept";
    check(STORAGE, cut, |_, answer| answer.with_body(Body::Bytes(Vec::new())));
    let stalled = "cut after 1000 of 300000 bytes: nothing came for too long";
    check(STORAGE, stalled, |asked, answer| {
        let part = if asked.range().is_some() { Vec::new() } else { noise(1000) };
        answer.with_body(Body::ThenSilence(part))
    });
    let more = "transformer/model.safetensors of THUDM/Tiny: more bytes, its list of files says 300000";
    check(STORAGE, more, |_, answer| answer.without("Content-Length").with_body(Body::Endless(noise(10_000))));
    check(INFO, "an answer of more than 67108864 bytes", |_, answer| {
        answer.without("Content-Length").with_body(Body::Endless(vec![b' '; 1 << 20]))
    });
    check(TREE, "THUDM/Tiny: cannot reach HUB: cut after 10 bytes: the connection was closed", |_, answer| {
        let part = answer.bytes()[..10].to_vec();
        answer.with_body(Body::Bytes(part))
    });
}

#[test]
fn wrong_sizes_sums_and_ranges_are_seen() {
    let size = |found: &str| {
        format!("transformer/model.safetensors of THUDM/Tiny: {found} bytes, its list of files says 300000")
    };
    check(STORAGE, &size("300001"), |_, _| Answer::new(200, noise(300_001)));
    check(STORAGE, &size("299999"), |_, _| Answer::new(200, noise(299_999)));
    check(STORAGE, "cannot reach STORAGE: the answer is not HTTP", |_, answer| answer.with("Content-Length", "many"));
    let flipped = "checksum";
    let fixture = check(STORAGE, flipped, |_, answer| {
        let mut bytes = answer.bytes();
        bytes[299_999] ^= 1;
        answer.with_body(Body::Bytes(bytes))
    });
    let part = fixture.at("blobs").join(format!("{}.incomplete", sha256(&noise(300_000))));
    assert!(!part.exists(), "what is wrong is not kept");
    check(FILE, "config.json of THUDM/Tiny: checksum", |asked, answer| {
        let wrong = asked.path.ends_with("config.json");
        if wrong { answer.with_body(Body::Bytes(b"{\"a\": 2}".to_vec())) } else { answer }
    });
    check(STORAGE, "another range than was asked for", |asked, answer| match asked.range() {
        None => answer.with_body(Body::Bytes(noise(1000))),
        Some(_) => answer.with("Content-Range", "bytes 5-299999/300000"),
    });
    check(STORAGE, &size("7"), |asked, answer| match asked.range() {
        None => answer.with_body(Body::Bytes(noise(1000))),
        Some(start) => answer.with("Content-Range", format!("bytes {start}-6/7")),
    });
    check(STORAGE, "status 204 for a file", |_, _| Answer::new(204, "").without("Content-Length"));
    check(STORAGE, "content encoded as \"gzip\", which was not asked for", |_, answer| {
        answer.with("Content-Encoding", "gzip")
    });
    check(TREE, "content encoded as \"gzip\"", |_, answer| answer.with("Content-Encoding", "gzip"));
}

#[test]
fn redirects_are_bounded_and_take_no_token_along() {
    let to = |location: &'static str| move |_: &Asked, _: Answer| Answer::new(302, "").with("Location", location);
    check(INFO, "THUDM/Tiny: HUB redirects more than 5 times", to("/api/models/THUDM/Tiny/revision/loop"));
    check(INFO, "THUDM/Tiny: HUB redirects to what is no address", to("file:///etc/passwd"));
    check(INFO, "redirects to what is no address", to("http://a:b@127.0.0.1:1/x"));
    check(INFO, "redirects without saying where", |_, _| Answer::new(307, ""));
    // Storage that sends on, to a third place and back to the Hub: the token stays away from the third.
    check(STORAGE, "STORAGE redirects more than 5 times", |asked, _| {
        let host = asked.header("host").unwrap_or_default();
        Answer::new(302, "").with("Location", format!("http://{host}/lfs/x?X-Amz-Signature=signed"))
    });
    // The API itself on another host: it is asked, without the token.
    let answers = "no X-Repo-Commit";
    check(FILE, answers, |asked, answer| {
        let host = asked.header("host").unwrap_or_default();
        if host.starts_with("localhost") {
            return answer;
        }
        let other = host.replace("127.0.0.1", "localhost");
        Answer::new(302, "").with("Location", format!("http://{other}{}", asked.path))
    });
}

#[test]
fn what_is_no_hub_is_said() {
    let no_hub = |reason: &str| format!("THUDM/Tiny: HUB does not answer as a Hub does: {reason}");
    check(INFO, &no_hub("JSON: "), |_, _| Answer::new(200, "{\"sha\": "));
    check(INFO, &no_hub("JSON: "), |_, _| Answer::new(200, "[1]"));
    check(INFO, &no_hub("a page (HTML) in place of JSON"), |_, _| {
        Answer::new(200, "<!DOCTYPE html><html>Log in</html>")
    });
    check(INFO, &no_hub("it names no commit"), |_, _| Answer::new(200, "{}"));
    check(INFO, &no_hub("it names no commit"), |_, _| Answer::new(200, r#"{"sha": "../../../etc"}"#));
    check(INFO, "THUDM/Tiny: cannot reach HUB: ", |_, answer| {
        answer.with_body(Body::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec()))
    });
    let of_file = "config.json of THUDM/Tiny: HUB does not answer as a Hub does: ";
    check(FILE, &format!("{of_file}no X-Repo-Commit"), |_, answer| answer.without("X-Repo-Commit"));
    check(FILE, &format!("{of_file}no ETag"), |_, answer| answer.without("ETag"));
    let another = format!("{of_file}another commit than {COMMIT}");
    check(FILE, &another, |_, answer| answer.with("X-Repo-Commit", "f".repeat(40)));
    check(FILE, &format!("{of_file}another ETag"), |_, answer| answer.with("ETag", "\"other\""));
}

/// Changes the listing.
fn tree(change: impl Fn(&mut Vec<Value>) + Send + Sync + 'static) -> impl Fn(&Asked, Answer) -> Answer + Send + Sync {
    move |_, answer| {
        let mut entries: Vec<Value> = serde_json::from_slice(&answer.bytes()).expect("a list");
        change(&mut entries);
        Answer::new(200, Value::from(entries).to_string())
    }
}

#[test]
fn listings_that_cannot_be_are_refused() {
    let bad = |reason: &str| format!("THUDM/Tiny: its list of files: {reason}");
    for path in ["../../../.bashrc", "/etc/passwd", "a/../../b", "a\\b", "", "a//b", "nul\u{0}", "line\nbreak"] {
        check(TREE, "not a path below the repository", tree(move |entries| entries[0]["path"] = path.into()));
    }
    check(TREE, &bad("\"config.json\" is there twice"), tree(|entries| entries.push(entries[0].clone())));
    check(TREE, &bad("config.json: its size is none"), tree(|entries| entries[0]["size"] = (-1).into()));
    check(TREE, &bad("config.json: its size is none"), tree(|entries| entries[0]["size"] = Value::Null));
    check(TREE, &bad("config.json: its oid is no SHA-1"), tree(|entries| entries[0]["oid"] = "../x".into()));
    check(TREE, &bad("config.json: its oid is no SHA-1"), tree(|entries| entries[0]["oid"] = Value::Null));
    let lfs = |oid: &'static str| tree(move |entries| entries[3]["lfs"]["oid"] = oid.into());
    check(TREE, &bad("transformer/model.safetensors: its oid of LFS is no SHA-256"), lfs("abc"));
    check(TREE, &bad("transformer/model.safetensors: it has two sizes"), tree(|entries| entries[3]["size"] = 7.into()));
    check(TREE, &bad("JSON: "), tree(|entries| entries[3]["lfs"] = "large".into()));
    check(TREE, &bad("JSON: "), |_, _| Answer::new(200, r#"{"error": "none"}"#));
    check(
        TREE,
        &bad("transformer is a file and a folder"),
        tree(|entries| {
            let mut entry = entries[0].clone();
            entry["path"] = "transformer".into();
            entries.push(entry);
        }),
    );
    let entry = |number| json!({"type": "file", "path": format!("{number}"), "size": 1, "oid": "0".repeat(40)});
    let many = Value::from((0..=100_000).map(entry).collect::<Vec<_>>()).to_string();
    check(TREE, &bad("more than 100000 files"), move |_, _| Answer::new(200, many.clone()));
    check(TREE, &bad("it leads in a circle"), |_, _| {
        Answer::new(200, "[]").with("Link", r#"<x?recursive=true>; rel="next""#)
    });
    let pages = AtomicU64::new(0);
    check(TREE, &bad("more than 1000 pages"), move |_, _| {
        let page = pages.fetch_add(1, Ordering::SeqCst);
        Answer::new(200, "[]").with("Link", format!("<x?cursor={page}>; rel=\"next\""))
    });
}

#[test]
fn odd_things_in_the_cache_are_named() {
    let fixture = Fixture::new(|_, answer| answer);
    let message = || fixture.hub().snapshot(&repo(), |_| true).expect_err("odd").to_string();
    let snapshot = fixture.at("snapshots").join(COMMIT);
    fs::create_dir_all(snapshot.join("config.json")).expect("made");
    let expected = format!("{}: a folder stands where a file must be", snapshot.join("config.json").display());
    assert_eq!(message(), expected);
    fs::remove_dir(snapshot.join("config.json")).expect("removed");
    fs::write(snapshot.join("transformer"), "").expect("written");
    let expected = format!("{}: a file stands where a folder must be", snapshot.join("transformer").display());
    assert_eq!(message(), expected);
    fs::remove_file(snapshot.join("transformer")).expect("removed");
    // A link of another commit's content, one that leads nowhere, and content of another size: made anew.
    let folder = fixture.hub().snapshot(&repo(), |_| true).expect("downloaded");
    for path in [WEIGHTS, "config.json"] {
        fs::remove_file(folder.join(path)).expect("removed");
        std::os::unix::fs::symlink("nowhere", folder.join(path)).expect("a link");
    }
    let blob = fixture.at("blobs").join(sha256(&noise(300_000)));
    fs::write(blob, "short").expect("written");
    let folder = fixture.hub().snapshot(&repo(), |_| true).expect("downloaded again");
    fixture.check_snapshot(&folder);
}

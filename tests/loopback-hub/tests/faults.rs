//! What goes wrong goes wrong as it was asked for, and is remembered.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use loopback_hub::{Access, Fault, Kind, LoopbackHub, Role};

/// Sends a request and reads all that comes: the head and the content.
fn ask(hub: &LoopbackHub, request: &str) -> (String, Vec<u8>) {
    let address = hub.endpoint().replace("http://", "");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let mut buffer = [0; 1 << 16];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        answer.extend(&buffer[..read]);
        if answer.len() > 1 << 20 {
            break;
        }
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let content = answer.split_off(end);
    (String::from_utf8(answer).expect("text"), content)
}

fn get(hub: &LoopbackHub, path: &str, headers: &str) -> (String, Vec<u8>) {
    ask(hub, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n"))
}

const FILE: &str = "/a/b/resolve/main/file.txt";

fn hub() -> LoopbackHub {
    let hub = LoopbackHub::start();
    hub.add_repo(Kind::Model, "a/b", "main", [("file.txt", "0123456789"), ("w.safetensors", "weights")]);
    hub
}

#[test]
fn every_fault_is_seen() {
    let hub = hub();
    let one = |fault: Fault, headers: &str| {
        hub.fault("file.txt", [fault]);
        get(&hub, FILE, headers)
    };
    let status = |head: &str| head.split(' ').nth(1).unwrap_or_default().to_owned();
    assert_eq!(one(Fault::Cut { after: 4 }, "").1, b"0123");
    assert_eq!(hub.requests()[0].bytes_sent, 4);
    assert_eq!(one(Fault::Flip { offset: 5 }, "").1, b"0123446789");
    assert_eq!(one(Fault::Flip { offset: 5 }, "Range: bytes=4-6\r\n").1, b"446", "the same byte of the file");
    assert_eq!(one(Fault::Flip { offset: 2 }, "Range: bytes=4-6\r\n").1, b"456");
    assert_eq!(one(Fault::Stall { after: 3 }, "").1, b"012");
    assert_eq!(one(Fault::Silent, ""), (String::new(), Vec::new()));
    assert_eq!(one(Fault::NoAnswer, ""), (String::new(), Vec::new()));
    assert!(one(Fault::ContentLength(99), "").0.contains("Content-Length: 99\r\n"));
    let (head, content) = one(Fault::Endless, "");
    assert!(content.len() > 100_000 && !head.contains("Content-Length"), "{head}");
    let begin = Instant::now();
    assert_eq!(one(Fault::Slow { bytes_per_second: 100 }, "").1, b"0123456789");
    assert!(begin.elapsed() >= Duration::from_millis(90), "{:?}", begin.elapsed());
    assert_eq!(one(Fault::Raw(b"no HTTP\r\n\r\nx".to_vec()), "").0, "no HTTP\r\n\r\n");
    let (head, content) = one(Fault::refusal(429, "slow down").with_header("Retry-After", "7"), "");
    assert!(status(&head) == "429" && head.contains("Retry-After: 7\r\n"), "{head}");
    assert_eq!(content, br#"{"error":"slow down"}"#);
    assert!(one(Fault::redirect(307, "/x"), "").0.contains("Location: /x\r\n"));
    assert_eq!(one(Fault::html(), "").1.first(), Some(&b'<'));
    assert_eq!(get(&hub, FILE, "").1, b"0123456789", "each fault is for one request");
    assert_eq!(status(&get(&hub, FILE, "Range: bytes=10-\r\n").0), "416");

    hub.on(|request| (request.range.is_some()).then(|| Fault::status(500)));
    assert_eq!(status(&get(&hub, FILE, "Range: bytes=1-\r\n").0), "500");
    assert_eq!(status(&get(&hub, FILE, "").0), "200");
    hub.clear_faults();
    assert_eq!(status(&get(&hub, FILE, "Range: bytes=1-\r\n").0), "206");
}

#[test]
fn the_storage_is_another_host() {
    let hub = hub();
    let (head, _) = get(&hub, "/a/b/resolve/main/w.safetensors", "");
    let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).expect("elsewhere");
    let path = location.strip_prefix(&hub.store()).expect("at the storage");
    let at_store =
        |path: &str, headers: &str| ask(&hub, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
    assert_eq!(at_store(path, "").1, b"weights");
    assert!(at_store(path, "Authorization: Bearer hf_x\r\n").0.starts_with("HTTP/1.1 400"));
    assert!(at_store(path.split('?').next().expect("a path"), "").0.starts_with("HTTP/1.1 403"));
    assert!(at_store(FILE, "").0.starts_with("HTTP/1.1 404"), "the Hub is not there");
    assert!(get(&hub, path, "").0.starts_with("HTTP/1.1 401"), "here it is the name of no repository");
}

#[test]
fn who_may_read_is_said_by_tokens() {
    let hub = hub();
    let with = |path: &str, token: &str| {
        let headers = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let (head, _) = get(&hub, path, &headers);
        let code = head.lines().find_map(|line| line.strip_prefix("X-Error-Code: ")).unwrap_or_default().to_owned();
        (head[9..12].to_owned(), code)
    };
    let answer = |status: &str, code: &str| (status.to_owned(), code.to_owned());
    hub.add_token("hf_good", Role::Write);
    hub.add_token("hf_other", Role::Read);
    assert_eq!(with(FILE, "hf_bad"), answer("401", ""));
    hub.set_access(Kind::Model, "a/b", Access::Private("hf_good".into()));
    assert_eq!(with(FILE, "hf_good"), answer("200", ""));
    assert_eq!(with(FILE, ""), answer("401", "RepoNotFound"));
    assert_eq!(with(FILE, "hf_other"), answer("404", "RepoNotFound"));
    hub.set_access(Kind::Model, "a/b", Access::Gated("hf_good".into()));
    assert_eq!(with(FILE, "hf_good"), answer("200", ""));
    assert_eq!(with(FILE, "hf_other"), answer("403", "GatedRepo"));
    assert_eq!(with("/api/models/a/b/tree/main", ""), answer("200", ""));
    hub.rename(Kind::Model, "old/name", "a/b");
    assert_eq!(with("/api/models/old/name", ""), answer("307", ""));
    assert_eq!(with("/api/models/a/b/revision/other", ""), answer("404", "RevisionNotFound"));
}

#[test]
fn listings_have_pages_and_commits_stay() {
    let hub = hub();
    let first = hub.commits(Kind::Model, "a/b")[0].0.clone();
    hub.add_repo(Kind::Model, "a/b", "main", [("x/y/z.txt", "z"), ("a.txt", "a")]);
    hub.set_page_size(2);
    let (head, content) = get(&hub, "/api/models/a/b/tree/main?recursive=true", "");
    let next = head.lines().find_map(|line| line.strip_prefix("Link: <")).expect("more");
    let next = next.strip_suffix(">; rel=\"next\"").and_then(|next| next.strip_prefix(&hub.endpoint()));
    let (last_head, rest) = get(&hub, next.expect("at the Hub"), "");
    assert!(!last_head.contains("Link:"), "{last_head}");
    let paths = |content: &[u8]| -> Vec<String> {
        let entries: serde_json::Value = serde_json::from_slice(content).expect("JSON");
        entries.as_array().expect("entries").iter().map(|entry| entry["path"].to_string()).collect()
    };
    assert_eq!(paths(&content), ["\"a.txt\"", "\"x\""]);
    assert_eq!(paths(&rest), ["\"x/y\"", "\"x/y/z.txt\""]);
    assert_eq!(get(&hub, &format!("/a/b/resolve/{first}/file.txt"), "").1, b"0123456789");
    assert!(get(&hub, FILE, "").0.starts_with("HTTP/1.1 404"));
}

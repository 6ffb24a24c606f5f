//! Whole downloads, second ones, cut ones, offline ones.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use cogview4_hub::{Hub, HubError, Progress, RemoteFile};

use crate::{
    hub::{COMMIT, Content, Fixture, TOKEN, WEIGHTS, git_sha1, noise, repo, sha256},
    server::{Answer, Body},
};

#[test]
fn a_second_download_asks_for_no_file() {
    let fixture = Fixture::new(|_, answer| answer);
    let folder = fixture.hub().snapshot(&repo(), |_| true).expect("downloaded");
    assert_eq!(folder, fixture.at("snapshots").join(COMMIT));
    fixture.check_snapshot(&folder);
    let log = fixture.server.take_log();
    let requests: Vec<&str> = log.iter().map(|asked| asked.path.as_str()).collect();
    // Empty files are not asked for at all; the large one is at another host.
    assert_eq!(requests.len(), 6, "{requests:?}");
    for asked in &log {
        let to_hub = asked.header("host").is_some_and(|host| host.starts_with("127.0.0.1"));
        let token = asked.header("authorization");
        assert_eq!(token, to_hub.then_some(format!("Bearer {TOKEN}").as_str()), "{}", asked.path);
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
    }

    assert_eq!(fixture.hub().snapshot(&repo(), |_| true).expect("there"), folder);
    let again = fixture.server.take_log();
    assert!(again.iter().all(|asked| asked.path.starts_with("/api/")), "{again:?}");
}

#[test]
fn the_cache_is_laid_out_as_python_does() {
    let fixture = Fixture::new(|_, answer| answer);
    let folder = fixture.hub().snapshot(&repo(), |path| path != "empty.txt").expect("downloaded");
    let large = fixture.content.get(WEIGHTS).expect("there");
    let link = |path: &str| fs::read_link(folder.join(path)).expect("a link");
    assert_eq!(link(WEIGHTS), Path::new(&format!("../../../blobs/{}", sha256(&large.1))));
    assert_eq!(link("config.json"), Path::new(&format!("../../blobs/{}", git_sha1(b"{\"a\": 1}"))));
    assert_eq!(fs::read_to_string(fixture.at("refs/main")).expect("written"), COMMIT);
    assert!(!folder.join("empty.txt").exists(), "what was not chosen is not there");
    let blobs = fs::read_dir(fixture.at("blobs")).expect("there").count();
    assert_eq!(blobs, 3, "nothing is left over");
    let lock = format!(".locks/models--THUDM--Tiny/{}.lock", sha256(&large.1));
    assert!(fixture.cache.path().join(lock).is_file());
}

#[test]
fn a_cut_download_goes_on() {
    let cut_at = 70_000;
    let fixture = Fixture::new(move |asked, answer| {
        if !asked.path.starts_with("/lfs/") {
            return answer;
        }
        let bytes = answer.bytes();
        let part = bytes[..bytes.len().min(cut_at)].to_vec();
        answer.with_body(Body::Bytes(part))
    });
    let folder = fixture.hub().snapshot(&repo(), |_| true).expect("downloaded");
    fixture.check_snapshot(&folder);
    let log = fixture.server.take_log();
    let starts: Vec<usize> =
        log.iter().filter(|asked| asked.path.starts_with("/lfs/")).map(|asked| asked.range().unwrap_or(0)).collect();
    assert_eq!(starts, [0, 70_000, 140_000, 210_000, 280_000], "nothing is asked for twice");
    assert_eq!(*fixture.waits.lock().expect("no panic"), [Duration::from_secs(1); 4], "tries that bring something");
}

#[test]
fn a_server_without_ranges_starts_anew() {
    let fixture = Fixture::new(|asked, answer| match asked.range() {
        None if asked.path.starts_with("/lfs/") => {
            let part = answer.bytes()[..1000].to_vec();
            answer.with_body(Body::Bytes(part))
        }
        // Ignored once it is asked for.
        Some(_) if asked.path.starts_with("/lfs/") => Answer::new(200, noise(300_000)),
        _ => answer,
    });
    let folder = fixture.hub().snapshot(&repo(), |_| true).expect("downloaded");
    fixture.check_snapshot(&folder);
}

#[test]
fn a_part_that_is_too_long_or_refused_is_thrown_away() {
    let fixture = Fixture::new(|asked, answer| match asked.range() {
        Some(_) if asked.path.starts_with("/lfs/") => Answer::new(416, ""),
        _ => answer,
    });
    for length in [100, 300_001] {
        let blobs = fixture.at("blobs");
        let large = sha256(&fixture.content.get(WEIGHTS).expect("there").1);
        fs::create_dir_all(&blobs).expect("made");
        let _ = fs::remove_file(blobs.join(&large));
        fs::write(blobs.join(format!("{large}.incomplete")), vec![0; length]).expect("written");
        let folder = fixture.hub().snapshot(&repo(), |_| true).expect("downloaded");
        fixture.check_snapshot(&folder);
    }
}

#[test]
fn a_bit_that_flipped_once_costs_one_more_download() {
    let times = Mutex::new(0);
    let fixture = Fixture::new(move |asked, answer| {
        let mut times = times.lock().expect("no panic");
        if !asked.path.starts_with("/lfs/") || *times > 0 {
            return answer;
        }
        *times += 1;
        let mut bytes = answer.bytes();
        bytes[200_000] ^= 1;
        answer.with_body(Body::Bytes(bytes))
    });
    let folder = fixture.hub().snapshot(&repo(), |_| true).expect("downloaded");
    fixture.check_snapshot(&folder);
}

#[test]
fn offline_the_cache_answers() {
    let fixture = Fixture::new(|_, answer| answer);
    let offline = || fixture.hub().offline(true);
    let message = |result: Result<_, HubError>| result.expect_err("not there").to_string();
    let expected = format!(
        "THUDM/Tiny: its revision main is not in the cache {}, and HF_HUB_OFFLINE is set",
        fixture.cache.path().display()
    );
    assert_eq!(message(offline().snapshot(&repo(), |_| true)), expected);

    let folder = fixture.hub().snapshot(&repo(), |path| path != "config.json").expect("downloaded");
    fixture.server.take_log();
    assert_eq!(offline().snapshot(&repo(), |_| true).expect("there"), folder);
    let pinned = repo().with_revision(Some(COMMIT.into()));
    assert_eq!(offline().snapshot(&pinned, |_| true).expect("there"), folder);
    let listing = offline().list(&repo()).expect("there");
    assert!(listing.from_cache && listing.file("config.json").is_none());
    assert_eq!(listing.file(WEIGHTS), fixture_file(&fixture).as_ref());
    let unknown = offline().optional_file(&listing, "config.json").expect_err("not known").to_string();
    assert!(unknown.contains("config.json is not in the cache"), "{unknown}");
    let other = repo().with_revision(Some("v2".into()));
    assert!(message(offline().snapshot(&other, |_| true)).contains("its revision v2 is not in the cache"));
    assert!(fixture.server.take_log().is_empty(), "nobody was asked");

    // Without a network, the cache is offered, and not taken unasked.
    let nobody =
        fixture.hub_at("http://127.0.0.1:1").snapshot(&repo(), |_| true).expect_err("nobody is there").to_string();
    assert!(nobody.ends_with("; HF_HUB_OFFLINE=1 takes what the cache holds"), "{nobody}");
}

fn fixture_file(fixture: &Fixture) -> Option<RemoteFile> {
    let (path, bytes, _) = fixture.content.get(WEIGHTS)?;
    Some(RemoteFile {
        path: path.clone(),
        size: bytes.len() as u64,
        oid: String::new(),
        lfs_sha256: Some(sha256(bytes)),
    })
}

#[test]
fn what_a_repository_does_not_have_is_known_offline() {
    let fixture = Fixture::new(|_, answer| answer);
    let hub = fixture.hub();
    let listing = hub.list(&repo()).expect("listed");
    let config = hub.optional_file(&listing, "config.json").expect("downloaded");
    assert_eq!(config, Some(fixture.at("snapshots").join(COMMIT).join("config.json")));
    assert_eq!(hub.optional_file(&listing, "README.md").expect("known"), None);
    assert!(fixture.at(".no_exist").join(COMMIT).join("README.md").is_file());
    let offline = hub.offline(true);
    let listing = offline.list(&repo()).expect("listed");
    assert_eq!(offline.optional_file(&listing, "README.md").expect("known"), None);
    offline.optional_file(&listing, "../../../x").expect_err("outside");
}

#[test]
fn the_same_content_under_two_names_comes_once() {
    let mut content = Content::default();
    content.0.push(("vae/model.safetensors".into(), noise(300_000), true));
    let fixture = Fixture::with_content(content, |_, answer| answer);
    let folder = fixture.hub().snapshot(&repo(), |_| true).expect("downloaded");
    fixture.check_snapshot(&folder);
    let log = fixture.server.take_log();
    assert_eq!(log.iter().filter(|asked| asked.path.starts_with("/lfs/")).count(), 1);
}

#[test]
fn a_renamed_repository_is_followed() {
    let fixture = Fixture::new(|asked, answer| {
        if asked.path.contains("/THUDM/Tiny/tree") || !asked.path.contains("/old/") {
            return answer;
        }
        Answer::new(307, "").with("Location", asked.path.replace("/old/name/", "/THUDM/Tiny/"))
    });
    let old = cogview4_hub::Repo::model("old/name".parse().expect("a name"));
    let folder = fixture.hub().snapshot(&old, |_| true).expect("downloaded");
    fixture.check_snapshot(&folder);
    assert!(folder.starts_with(fixture.cache.path().join("models--old--name")));
}

#[test]
fn a_slow_server_is_waited_for() {
    let fixture = Fixture::new(|asked, answer| {
        let bytes = answer.bytes();
        let slow = asked.path.starts_with("/lfs/");
        if slow { answer.with_body(Body::Slowly(bytes, 30_000, Duration::from_millis(50))) } else { answer }
    });
    let folder = fixture.hub().snapshot(&repo(), |_| true).expect("downloaded");
    fixture.check_snapshot(&folder);
    assert_eq!(fixture.waits.lock().expect("no panic").len(), 0, "it took one try");
}

/// What was told.
#[derive(Debug, Default)]
struct Told {
    lines: Mutex<Vec<String>>,
    bytes: Mutex<(u64, u64)>,
}

impl Progress for Told {
    fn begin(&self, what: &str, total: u64, done: u64) {
        self.lines.lock().expect("no panic").push(format!("begin {what}"));
        *self.bytes.lock().expect("no panic") = (total, done);
    }
    fn advance(&self, bytes: u64) {
        self.bytes.lock().expect("no panic").1 += bytes;
    }
    fn lose(&self, bytes: u64) {
        self.bytes.lock().expect("no panic").1 -= bytes;
    }
    fn note(&self, line: &str) {
        self.lines.lock().expect("no panic").push(line.into());
    }
    fn end(&self) {
        self.lines.lock().expect("no panic").push("end".into());
    }
}

#[test]
fn two_downloads_at_once_fetch_each_file_once() {
    let fixture = Fixture::new(|asked, answer| {
        let bytes = answer.bytes();
        let slow = asked.path.starts_with("/lfs/");
        if slow { answer.with_body(Body::Slowly(bytes, 30_000, Duration::from_millis(30))) } else { answer }
    });
    let told = [Arc::new(Told::default()), Arc::new(Told::default())];
    let run = |hub: Hub| hub.snapshot(&repo(), |_| true).expect("downloaded");
    std::thread::scope(|scope| {
        for told in &told {
            let hub = fixture.hub().with_progress(told.clone());
            scope.spawn(move || run(hub));
        }
    });
    let log = fixture.server.take_log();
    assert_eq!(log.iter().filter(|asked| asked.path.starts_with("/lfs/")).count(), 1);
    let lines: Vec<String> = told.iter().flat_map(|told| told.lines.lock().expect("no panic").clone()).collect();
    assert!(lines.iter().any(|line| line.contains("another process downloads it")), "{lines:?}");
    for told in &told {
        let (total, done) = *told.bytes.lock().expect("no panic");
        assert_eq!(total, done, "what others fetched counts too");
    }
    fixture.check_cache();
}

#[test]
fn what_does_not_fit_is_refused_before() {
    let mut content = Content::default();
    content.0.truncate(1);
    let fixture = Fixture::with_content(content, |asked, answer| {
        if !asked.path.contains("/tree/") {
            return answer;
        }
        let huge = String::from_utf8(answer.bytes()).expect("text").replace("\"size\":8", "\"size\":4000000000000000");
        Answer::new(200, huge)
    });
    let error = fixture.hub().snapshot(&repo(), |_| true).expect_err("too large");
    assert!(matches!(error, HubError::DiskFull { needed: 4_000_000_000_000_000, .. }), "{error}");
    assert!(fixture.server.take_log().iter().all(|asked| asked.path.starts_with("/api/")), "before any file");
}

#[test]
fn a_mirror_that_names_the_hub_in_its_links_is_asked_for_the_next_page() {
    let fixture = Fixture::new(|asked, answer| {
        if !asked.path.contains("/tree/") {
            return answer;
        }
        let entries: Vec<serde_json::Value> = serde_json::from_slice(&answer.bytes()).expect("a list");
        let (first, rest) = entries.split_at(2);
        if asked.path.contains("cursor=two") {
            return Answer::new(200, serde_json::to_string(rest).expect("JSON"));
        }
        let next = r#"<https://huggingface.co/api/models/x/y/tree/main?recursive=true&cursor=two>; rel="next""#;
        Answer::new(200, serde_json::to_string(first).expect("JSON")).with("Link", next)
    });
    fixture.check_snapshot(&fixture.hub().snapshot(&repo(), |_| true).expect("downloaded"));
}

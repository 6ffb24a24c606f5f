//! Downloads that are killed: what was kept is not asked for again, and no part is taken for the whole.

use std::{
    fs,
    process::{Command, Stdio},
    sync::atomic::Ordering,
    time::Duration,
};

use cogview4_hub::Hub;

use crate::{
    hub::{Content, Fixture, WEIGHTS, noise, repo, sha256},
    server::Body,
};

const URL: &str = "COGVIEW4_HUB_TEST_URL";
const CACHE: &str = "COGVIEW4_HUB_TEST_CACHE";

/// What is killed: this program again, with this test alone.
#[test]
#[ignore = "run by the other test"]
fn child() {
    let (Ok(url), Ok(cache)) = (std::env::var(URL), std::env::var(CACHE)) else { return };
    Hub::default().with_endpoint(&url).with_cache_dir(cache).snapshot(&repo(), |_| true).expect("downloaded");
}

#[test]
fn killed_downloads_go_on() {
    let size = 3_000_000;
    let mut content = Content::default();
    content.0[3].1 = noise(size);
    let fixture = Fixture::with_content(content, |asked, answer| {
        let bytes = answer.bytes();
        let large = asked.path.starts_with("/lfs/");
        if large { answer.with_body(Body::Slowly(bytes, 20_000, Duration::from_millis(2))) } else { answer }
    });
    let part =
        fixture.at("blobs").join(format!("{}.incomplete", sha256(&fixture.content.get(WEIGHTS).expect("there").1)));
    let start = || {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(["--exact", "killed::child", "--ignored"]).env(URL, fixture.server.url());
        command.env(CACHE, fixture.cache.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")
    };
    let random = noise(20);
    let mut kept = 0;
    for kill in 0..10 {
        let mut child = start();
        let before = fixture.server.sent.load(Ordering::SeqCst);
        let after = 10_000 + usize::from(random[10 + kill]) * 1_000;
        while fixture.server.sent.load(Ordering::SeqCst) - before < after as u64 {
            assert!(child.try_wait().expect("asked").is_none(), "it ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        let starts = asked(&fixture);
        assert!(starts.iter().all(|&start| start == kept), "kill {kill}: {starts:?}, {kept} were kept");
        let now = fs::metadata(&part).map_or(0, |part| part.len() as usize);
        assert!(now >= kept && now < size, "kill {kill}: {now} bytes after {kept}");
        kept = now;
        fixture.check_cache();
        assert!(!fixture.at("refs/main").exists(), "the ref comes last");
    }
    assert!(kept > 500_000, "kills came before anything was kept: {kept}");
    let status = start().wait().expect("ended");
    assert!(status.success());
    assert_eq!(asked(&fixture), [kept]);
    let folder = fixture.hub().offline(true).snapshot(&repo(), |_| true).expect("there");
    fixture.check_snapshot(&folder);
}

/// Where requests for the large file began, since it was asked last.
fn asked(fixture: &Fixture) -> Vec<usize> {
    let log = fixture.server.take_log();
    log.iter().filter(|asked| asked.path.starts_with("/lfs/")).map(|asked| asked.range().unwrap_or(0)).collect()
}

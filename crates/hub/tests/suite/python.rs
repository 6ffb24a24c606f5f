//! The cache is shared with Python's `huggingface_hub`: what one of them downloaded, the other finds offline.

use std::process::Command;

use crate::hub::{COMMIT, Fixture, repo};

/// Runs Python with a `huggingface_hub`; `REFERENCE_PYTHON` says which.
fn python(fixture: &Fixture, offline: bool, code: &str) -> String {
    let program = std::env::var("REFERENCE_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(program)
        .args(["-c", code])
        .env("HF_ENDPOINT", fixture.server.url())
        .env("HF_HUB_CACHE", fixture.cache.path())
        .env("HF_HUB_OFFLINE", if offline { "1" } else { "0" })
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("HF_HUB_DISABLE_XET", "1")
        .env_remove("HF_TOKEN")
        .output()
        .expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_string()
}

const SNAPSHOT: &str = "from huggingface_hub import snapshot_download as s; print(s('THUDM/Tiny'))";

#[test]
#[ignore = "needs Python with huggingface_hub"]
fn python_finds_our_cache() {
    let fixture = Fixture::new(|_, answer| answer);
    let hub = fixture.hub();
    let folder = hub.snapshot(&repo(), |_| true).expect("downloaded");
    let listing = hub.list(&repo()).expect("listed");
    hub.optional_file(&listing, "missing.json").expect("known");
    fixture.server.take_log();
    assert_eq!(python(&fixture, true, SNAPSHOT), folder.display().to_string());
    let code = "from huggingface_hub import try_to_load_from_cache as t; print(t('THUDM/Tiny', 'config.json')); \
                print(t('THUDM/Tiny', 'missing.json'))";
    let printed = python(&fixture, true, code);
    let (found, missing) = printed.split_once('\n').expect("two lines");
    assert_eq!(found, folder.join("config.json").display().to_string());
    assert!(missing.contains("object"), "known not to be there: {missing}");
    assert!(fixture.server.take_log().is_empty(), "nobody was asked");
    assert_eq!(python(&fixture, false, SNAPSHOT), folder.display().to_string());
    let gets =
        fixture.server.take_log().into_iter().filter(|asked| asked.method == "GET" && !asked.path.starts_with("/api"));
    assert_eq!(gets.count(), 0, "no file comes again");
}

#[test]
#[ignore = "needs Python with huggingface_hub"]
fn we_find_pythons_cache() {
    let fixture = Fixture::new(|_, answer| answer);
    let printed = python(&fixture, false, SNAPSHOT);
    assert_eq!(printed, fixture.at("snapshots").join(COMMIT).display().to_string());
    fixture.server.take_log();
    let folder = fixture.hub().offline(true).snapshot(&repo(), |_| true).expect("there");
    fixture.check_snapshot(&folder);
    assert!(fixture.server.take_log().is_empty(), "nobody was asked");
    fixture.hub().snapshot(&repo(), |_| true).expect("there");
    assert!(fixture.server.take_log().iter().all(|asked| asked.path.starts_with("/api/")), "no file comes again");
}

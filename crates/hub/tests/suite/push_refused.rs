//! Pushes that are refused: by a token, a name, a card, or an answer that is none.

use std::path::Path;

use cogview4_hub::PushOptions;
use loopback_hub::{Fault, Kind};

use crate::push::{ID, Place, TOKEN, WEIGHTS, id};

#[test]
fn who_may_not_is_told_so() {
    let place = Place::new();
    let hub = |token: &str| place.hub(token);
    assert_eq!(hub(TOKEN).resolve_id("pose-control").expect("a name"), id());
    assert_eq!(hub(TOKEN).resolve_id("testers/a").expect("a name").as_str(), "testers/a");
    let refused = |token: &str, name: &str| hub(token).resolve_id(name).expect_err(name).to_string();
    let endpoint = place.server.endpoint();
    assert_eq!(
        refused("hf_wrong", "a"),
        format!("{endpoint} refuses the token: set HF_TOKEN to one of {endpoint}/settings/tokens, or unset it")
    );
    assert_eq!(refused("", "a"), format!("no token: set HF_TOKEN to one of {endpoint}/settings/tokens that may write"));
    let error = "tester/a: forbidden: this token may only read: set HF_TOKEN to one that may write";
    assert_eq!(refused("hf_reader", "a"), error);
    let error = "other/a: forbidden: other is neither the token's user tester nor one of its organisations";
    assert_eq!(refused(TOKEN, "other/a"), error);
    place.server.take_requests();
    for bad in ["", "a b", "a/b/c", "a--b", "x.git", "/a"] {
        assert!(refused(TOKEN, bad).starts_with(&format!("{bad}: ")), "{bad}");
    }
    assert!(place.server.take_requests().is_empty(), "names are looked at before anybody is asked");
    let offline = hub(TOKEN).offline(true).resolve_id("a").expect_err("offline").to_string();
    assert!(offline.contains("HF_HUB_OFFLINE"), "{offline}");

    for (token, part) in [("hf_wrong", "refuses the token"), ("", "HF_TOKEN"), ("hf_reader", "write token")] {
        let error = place.push_as(token, false).expect_err(token);
        assert!(error.contains(part), "{error}");
    }
    assert!(place.server.files(Kind::Model, ID, "main").is_empty() && place.puts() == 0);
}

#[test]
fn repositories_that_are_there_are_used_as_they_are() {
    let place = Place::new();
    place.push_as(TOKEN, true).expect("pushed");
    assert_eq!(place.server.is_private(Kind::Model, ID), Some(true));
    place.push_as(TOKEN, true).expect("private as before");

    // A token for this repository alone may make none.
    place.write("config.json", b"{}");
    place.server.fault("repos/create", [Fault::refusal(403, "You don't have the rights")]);
    place.push().expect("pushed");
    place.check();

    // Who wants a private one does not get a public one.
    let public = Place::new();
    public.server.add_repo(Kind::Model, ID, "main", [("a", "b")]);
    let error = public.push_as(TOKEN, true).expect_err("public");
    assert!(error.starts_with(&format!("{ID}: is there already and is public")), "{error}");
    assert_eq!(public.puts(), 0);
    public.push().expect("pushed");
}

#[test]
fn a_card_that_the_hub_refuses_is_known_before_anything_is_made() {
    let place = Place::new();
    place.write("README.md", b"---\nlicense: mine\n---\n");
    let error = place.push().expect_err("refused");
    assert!(error.contains("README.md: the Hub refuses this card: \"license\" must be one of"), "{error}");
    place.write("README.md", b"---\nlicense: other\xff\n---\n");
    assert!(place.push().expect_err("refused").ends_with("it is not UTF-8"));
    assert_eq!(place.server.is_private(Kind::Model, ID), None);
    place.write("README.md", b"# no front matter\n");
    place.push().expect("a warning only");
    assert!(place.told.notes.lock().expect("whole").iter().any(|note| note.contains("missing yaml metadata")));
}

#[test]
fn odd_answers_are_one_line() {
    let batch = |json: &str| Fault::body("application/json", json);
    for (path, fault, part) in [
        ("preupload", batch("{}"), "it says nothing of README.md"),
        ("preupload", Fault::html(), "a page (HTML)"),
        ("objects/batch", batch("{}"), "missing field"),
        ("objects/batch", batch(r#"{"objects": []}"#), "it does not say where"),
        ("/commit/", batch("{}"), "a commit without a name"),
        ("/commit/", Fault::refusal(400, "no hf_verysecret here"), "no *** here"),
        ("repos/create", Fault::refusal(403, "not you, hf_verysecret"), "forbidden"),
    ] {
        let place = Place::new();
        place.server.fault(path, [fault]);
        let error = place.push().expect_err(path);
        assert!(error.contains(part), "{path}: {error}");
    }
    // Where the Hub sends an object somewhere odd.
    for (href, part) in [("file:///etc/passwd", "an address"), ("/relative", "an address")] {
        let place = Place::new();
        let endpoint = place.server.endpoint();
        place.push().expect("pushed");
        place.write(WEIGHTS, b"new");
        let oid = crate::hub::sha256(b"new");
        let answer = format!(r#"{{"objects": [{{"oid": "{oid}", "actions": {{"upload": {{"href": "{href}"}}}}}}]}}"#);
        place.server.fault("objects/batch", [batch(&answer)]);
        let error = place.push().expect_err(href);
        assert!(error.contains(part) && error.contains(&endpoint), "{error}");
        let refused =
            format!(r#"{{"objects": [{{"oid": "{oid}", "error": {{"code": 422, "message": "too hf_verysecret"}}}}]}}"#);
        place.server.fault("objects/batch", [batch(&refused)]);
        let error = place.push().expect_err("refused");
        assert!(error.contains("422: too ***") && error.contains(WEIGHTS), "{error}");
    }
}

#[test]
fn folders_without_anything_are_refused() {
    let place = Place::new();
    let empty = tempfile::tempdir().expect("a folder");
    for (folder, part) in [(empty.path(), "has no files to push"), (Path::new("/there/is/none"), "No such file")] {
        let error = place.hub(TOKEN).push(&id(), folder, &PushOptions::default()).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(place.server.requests().is_empty());
}

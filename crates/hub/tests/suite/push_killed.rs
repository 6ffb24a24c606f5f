//! Pushes that are killed: what came whole is not sent again, and the repository changes at the end alone.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cogview4_hub::{Hub, PushOptions, Token};
use loopback_hub::{Fault, Kind};

use crate::push::{ID, Place, TOKEN, id};

const URL: &str = "COGVIEW4_HUB_PUSH_URL";
const FOLDER: &str = "COGVIEW4_HUB_PUSH_FOLDER";

/// What is killed: this program again, with this test alone.
#[test]
#[ignore = "run by the other test"]
fn child() {
    let (Ok(url), Ok(folder)) = (std::env::var(URL), std::env::var(FOLDER)) else { return };
    let hub = Hub::default().with_endpoint(&url).with_token(Some(Token::new(TOKEN)));
    hub.push(&id(), folder.as_ref(), &PushOptions::default()).expect("pushed");
}

#[test]
fn killed_pushes_go_on() {
    let place = Place::new();
    let start = || {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "push_killed::child", "--ignored"]).env(URL, place.server.endpoint());
        command.env(FOLDER, place.folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")
    };
    // At the second large file, and then at the commit, nobody answers any more.
    let reached = Arc::new(AtomicUsize::new(0));
    place.server.on({
        let (reached, puts) = (reached.clone(), AtomicUsize::new(0));
        move |request| {
            let stops = match request.method.as_str() {
                "PUT" => puts.fetch_add(1, Ordering::SeqCst) == 1,
                _ => request.path.contains("/commit/") && reached.load(Ordering::SeqCst) == 1,
            };
            if stops {
                reached.fetch_add(1, Ordering::SeqCst);
            }
            stops.then_some(Fault::Silent)
        }
    });
    let puts = || place.server.take_requests().iter().filter(|request| request.method == "PUT").count();
    for (kill, expected) in [(1, 2), (2, 1)] {
        let mut child = start();
        while reached.load(Ordering::SeqCst) < kill {
            assert!(child.try_wait().expect("asked").is_none(), "it ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert_eq!(puts(), expected, "kill {kill}");
        assert_eq!(place.server.commits(Kind::Model, ID).len(), 1, "nothing of it is in the repository");
    }
    assert!(start().wait().expect("ended").success());
    assert_eq!(puts(), 0);
    place.check();
}

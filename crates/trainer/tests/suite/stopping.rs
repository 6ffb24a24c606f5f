//! A signal while the program waits for a server ends it at once: there is nothing to save yet.
#![cfg(unix)]

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use loopback_hub::{Fault, LoopbackHub};

use crate::{
    hub::{command, loopback},
    support::Workplace,
};

/// Starts a program, sends SIGTERM once it waits, and expects its end with one line.
#[track_caller]
fn ends_at_once<T>(mut command: Command, until_it_waits: impl FnOnce() -> T) {
    let program = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let held = until_it_waits();
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &program.id().to_string()]).status().unwrap().success());
    let output = program.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "the answer was waited for: {:?}", asked.elapsed());
    drop(held);
    assert_eq!(output.status.code(), Some(130));
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.lines().last().unwrap_or_default();
    assert_eq!(last, "error: stopped while downloading, before training began: what came is kept for the next time");
    assert!(!error.contains("s3cret") && !error.contains("panicked"), "{error}");
}

#[test]
fn a_validation_image_is_not_waited_for() {
    let workplace = Workplace::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.png?signature=s3cret", silent.local_addr().unwrap());
    let command = workplace.command(&["--validation_prompt", "a square", "--validation_image", &url]);
    ends_at_once(command, || silent.accept().unwrap());
}

#[test]
fn the_hub_is_not_waited_for() {
    let busy = Fault::status(503).with_header("Retry-After", "250");
    // The commit's name, the content of a file, and another try.
    for (path, fault) in [("/revision/", Fault::Silent), ("/resolve/", Fault::Stall { after: 9 }), ("/tree/", busy)] {
        let (workplace, hub) = (Workplace::new(), loopback());
        hub.on(move |request| request.path.contains(path).then(|| fault.clone()));
        let train = command(&workplace, &hub, &["--pretrained_model_name_or_path", "THUDM/CogView4-6B"]);
        ends_at_once(train, || wait_for(&hub, path));
    }
}

/// Waits until something was asked for, and answered if it is to be.
fn wait_for(hub: &LoopbackHub, path: &str) {
    while !hub.requests().iter().any(|request| request.path.contains(path)) {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
}

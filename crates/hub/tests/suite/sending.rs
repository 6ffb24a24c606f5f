//! Requests that carry something.

use std::{io::Cursor, time::Duration};

use cogview4_hub::{
    Hub, Token,
    http::{Body, Request, Subject},
};
use serde_json::json;

use crate::{
    hub::{Fixture, TOKEN},
    server::{Answer, Asked, Server},
};

const SUBJECT: Subject<'static> = Subject::Other("the model card");

fn client(server: &Server) -> Hub {
    Hub::default()
        .with_endpoint(&server.url())
        .with_token(Some(Token::new(TOKEN)))
        .with_sleep(std::sync::Arc::new(|_| {}))
}

/// The last request that came.
fn last(server: &Server) -> Asked {
    server.take_log().pop().expect("a request")
}

#[test]
fn bodies_arrive_whole_with_their_length() {
    let server = Server::start(|asked, _| Answer::new(200, json!({"got": asked.body.len()}).to_string()));
    let hub = client(&server);
    let answer = hub.http().post_json("/api/x", SUBJECT, &json!({"a": 1})).expect("answered");
    assert_eq!(answer, json!({"got": 7}));
    let asked = last(&server);
    assert_eq!((asked.method.as_str(), asked.body.as_slice()), ("POST", &b"{\"a\":1}"[..]));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(asked.header("authorization"), Some("Bearer hf_secret"));

    let open = || Ok(Box::new(Cursor::new(vec![7u8; 300_000])) as Box<dyn std::io::Read>);
    let body = Body::Reader { open: &open, length: 300_000 };
    hub.http().send(&Request::put("/put", SUBJECT).body(body).without_token()).expect("answered");
    let asked = last(&server);
    assert_eq!((asked.method.as_str(), asked.body.len()), ("PUT", 300_000));
    // Storage refuses uploads in chunks of unknown number.
    assert_eq!((asked.header("transfer-encoding"), asked.header("authorization")), (None, None));

    hub.http().send(&Request::post("/empty", SUBJECT)).expect("answered");
    assert_eq!(last(&server).header("content-length"), Some("0"));
    let storage = format!("http://localhost:{}/put?X-Amz-Signature=signed", server.port);
    hub.http().send(&Request::put(storage, SUBJECT).body(Body::Bytes(b"x"))).expect("answered");
    assert_eq!(last(&server).header("authorization"), None, "the token stays with the endpoint");
}

#[test]
fn bodies_are_sent_again_and_some_statuses_are_answers() {
    let tries = std::sync::atomic::AtomicU64::new(0);
    let server = Server::start(move |asked, _| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Answer::new(503, ""),
        1 => Answer::new(307, "").with("Location", "/moved"),
        _ if asked.path == "/taken" => Answer::new(409, r#"{"error": "You already created it"}"#),
        _ => Answer::new(200, asked.body.clone()),
    });
    let hub = client(&server);
    let answer = hub.http().send(&Request::put("/x", SUBJECT).body(Body::Bytes(b"whole"))).expect("answered");
    assert_eq!(answer.body, b"whole");
    assert_eq!(server.take_log().len(), 3);

    let taken = Request::post("/taken", SUBJECT).body(Body::Bytes(b"{}"));
    assert_eq!(hub.http().send_accepting(&taken, &[409]).expect("accepted").status, 409);
    let error = hub.http().send(&taken).expect_err("not accepted").to_string();
    assert_eq!(error, format!("the model card: {} answers 409: You already created it", server.url()));
}

#[test]
fn what_is_sent_is_not_sent_elsewhere() {
    let server = Server::start(|asked, port| match asked.path.as_str() {
        "/found" => Answer::new(302, "").with("Location", "/other"),
        "/away" => Answer::new(307, "").with("Location", format!("http://localhost:{port}/other")),
        _ => Answer::new(200, "{}"),
    });
    let hub = client(&server);
    for path in ["/found", "/away"] {
        let error = hub.http().send(&Request::post(path, SUBJECT).body(Body::Bytes(b"x"))).expect_err(path).to_string();
        assert_eq!(error, format!("the model card: {} redirects what is sent to it", server.url()));
        assert_eq!(server.take_log().len(), 1, "{path}");
    }
    let own = Request::get("/away", SUBJECT).without_token().header("Authorization", "Basic of-storage");
    hub.http().send(&own).expect("answered");
    let seen: Vec<_> = server.take_log().iter().map(|asked| asked.header("authorization").map(str::to_owned)).collect();
    assert_eq!(seen, [Some("Basic of-storage".into()), None]);
}

#[test]
fn some_answers_take_longer_than_others() {
    let server = Server::start(|_, _| {
        std::thread::sleep(Duration::from_millis(400));
        Answer::new(200, "{}")
    });
    let fixture = Fixture::new(|_, answer| answer);
    let hub = fixture.hub_at(&server.url());
    let request = Request::post("/api/models/a/b/commit/main", SUBJECT);
    let error = hub.http().send(&request).expect_err("too long").to_string();
    assert!(error.ends_with("no answer within 0.2 s"), "{error}");
    hub.http().send(&request.patience(Duration::from_secs(5))).expect("answered");
}

#[test]
fn a_hub_on_the_internet_leads_into_no_private_network() {
    let server = Server::start(|_, _| Answer::new(200, ""));
    // Nothing is asked there: what a server names is looked at all the same.
    let hub = client(&server).with_endpoint("https://hub.invalid");
    let storage = Request::put(format!("{}/put?X-Amz-Signature=signed", server.url()), SUBJECT);
    let error = hub.http().send(&storage.body(Body::Bytes(b"x"))).expect_err("private").to_string();
    let expected = "127.0.0.1 is in a private network, and the address that was asked for is not";
    assert_eq!(error, format!("the model card: cannot reach {}: {expected}", server.url()));
    assert!(server.take_log().is_empty());
}

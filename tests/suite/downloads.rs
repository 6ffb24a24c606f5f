//! Pictures from URLs: what is followed, what is refused, and that errors repeat no secrets.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cogview4::load_image;

use crate::support::fixtures;

const URL: &str = "COGVIEW4_PICTURE_URL";

/// A server that answers by the head of a request, also as a proxy; its answers stand after `HTTP/1.1 `.
struct Server {
    host: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { host: listener.local_addr().unwrap().to_string(), asked: Arc::default() };
        let asked = server.asked.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                asked.fetch_add(1, Ordering::SeqCst);
                let mut head = read(&mut stream);
                if head.starts_with("CONNECT") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                    head = read(&mut stream);
                }
                stream.write_all(&[b"HTTP/1.1 ", answer(&head).as_slice()].concat()).unwrap();
            }
        });
        server
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The head of a request, which may come in parts.
fn read(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn redirect(location: &str) -> Vec<u8> {
    format!("302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into()
}

fn picture() -> Vec<u8> {
    let bytes = std::fs::read(fixtures().join("pillow").join("image.png")).unwrap();
    let head = format!("200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
    [head.into_bytes(), bytes].concat()
}

/// Answers to each path; what leads to a file leads there by another name of this machine.
fn server() -> Server {
    let other = Server::start(|head| match head.contains("GET /a.png?signature=secret ") {
        true => picture(),
        false => b"404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    });
    let port = other.host.rsplit(':').next().unwrap().to_string();
    Server::start(move |head| match head.split([' ', '?']).nth(1).unwrap() {
        "/user" if head.to_lowercase().contains("authorization: basic ") => redirect("image.png"),
        "/elsewhere" => redirect(&format!("http://localhost:{port}/a.png?signature=secret")),
        "/absent" => redirect(&format!("http://localhost:{port}/b.png?signature=secret")),
        "/password" => redirect("http://user:password@127.0.0.1/a.png?signature=secret"),
        "/file" => redirect("file:///secret"),
        "/broken" => redirect("http://127.0.0.1:port/secret"),
        "/nowhere" => b"302 Found\r\nConnection: close\r\n\r\n".to_vec(),
        path => match path[1..].parse::<usize>() {
            Ok(left @ 1..) => redirect(&format!("/{}?signature=secret", left - 1)),
            _ => picture(),
        },
    })
}

#[test]
fn pictures_come_from_urls_too() {
    let server = server();
    for url in [
        format!("http://user:password@{}/image.png?signature=secret", server.host),
        format!("HTTP://{}/image.png", server.host),
        format!("http://user:password@{}/user", server.host),
        format!("http://{}/elsewhere", server.host),
        format!("http://{}/5", server.host),
    ] {
        assert_eq!(load_image(&url).unwrap().dimensions(), (83, 61), "{url}");
    }
}

#[test]
fn what_is_not_followed_is_one_line_without_secrets() {
    let server = server();
    for (path, expected) in [
        ("absent", "redirected to http://localhost:PORT/b.png: http status: 404"),
        ("password", "redirects to what is no address"),
        ("file", "redirects to what is no address"),
        ("broken", "redirects to what is no address"),
        ("nowhere", "redirects without saying where"),
        ("6", "redirects more than 5 times"),
    ] {
        for scheme in ["http", "HTTP"] {
            let url = format!("{scheme}://user:password@{}/{path}?signature=secret", server.host);
            let error = load_image(&url).unwrap_err().to_string();
            let port = error.split("localhost:").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or("PORT");
            let expected = expected.replace("PORT", port);
            assert_eq!(error, format!("image {scheme}://{}/{path}: {expected}", server.host));
        }
    }
}

/// What has an environment of its own: this program again, with this test alone.
#[test]
#[ignore = "run by the other test"]
fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    panic!("{}", load_image(&url).unwrap_err());
}

/// A public host, as far as this machine knows: a proxy answers for it, as it resolves names itself.
#[test]
fn the_internet_leads_into_no_private_network() {
    let private = Server::start(|_| picture());
    let location = format!("http://{}/latest/meta-data?signature=secret", private.host);
    for location in [location.replace("127.0.0.1", "localhost"), location] {
        let proxy = Server::start({
            let location = location.clone();
            move |_| redirect(&location)
        });
        let mut command = Command::new(std::env::current_exe().unwrap());
        for name in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "no_proxy"] {
            command.env_remove(name);
        }
        command.env("http_proxy", format!("http://{}", proxy.host)).env("NO_PROXY", "127.0.0.1,localhost");
        command.args(["--exact", "downloads::child", "--ignored"]).env(URL, "http://example.invalid/a.png?signature=1");
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let named = location.split('?').next().unwrap();
        let expected = format!(
            "image http://example.invalid/a.png: redirected to {named}: 127.0.0.1 is in a private network, and the \
             address that was asked for is not\n"
        );
        assert!(said.contains(&expected), "{said}");
        assert_eq!((proxy.asked(), private.asked()), (1, 0));
    }
}

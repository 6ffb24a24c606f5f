//! An HTTP server on loopback: one thread a connection, one request a connection, answers made by a test.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Where a range begins.
    pub(crate) fn range(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What an answer carries.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Bytes(Vec<u8>),
    /// The same bytes again and again, until the other side hangs up.
    Endless(Vec<u8>),
    /// Bytes, then nothing, with the connection left open.
    ThenSilence(Vec<u8>),
    /// Bytes in parts with pauses.
    Slowly(Vec<u8>, usize, Duration),
    /// In place of an answer.
    Raw(Vec<u8>),
}

/// An answer to send.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: vec![("Content-Length".into(), body.len().to_string())], body: Body::Bytes(body) }
    }

    /// Sets a header, in place of one of that name.
    pub(crate) fn with(self, name: &str, value: impl ToString) -> Self {
        let mut answer = self.without(name);
        answer.headers.push((name.into(), value.to_string()));
        answer
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self
    }

    pub(crate) fn with_body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match &self.body {
            Body::Bytes(bytes) => bytes.clone(),
            other => panic!("no plain bytes: {other:?}"),
        }
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A server that runs until the test ends.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// All requests, with the bytes of content that were sent.
    log: Arc<Mutex<Vec<Asked>>>,
    /// Bytes of content that were sent, of all answers.
    pub(crate) sent: Arc<AtomicU64>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Asked, u16) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::new(AtomicU64::new(0));
        let handler: Arc<Handler> = Arc::new(move |asked| handler(asked, port));
        let server = Self { port, log: log.clone(), sent: sent.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, log, sent) = (handler.clone(), log.clone(), sent.clone());
                std::thread::spawn(move || {
                    if let Some(asked) = read(&stream) {
                        log.lock().expect("no panic").push(asked.clone());
                        // A client that hangs up is part of some tests.
                        let _ = write(stream, &asked, &handler(&asked), &sent);
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests so far; the next call begins after them.
    pub(crate) fn take_log(&self) -> Vec<Asked> {
        std::mem::take(&mut self.log.lock().expect("no panic"))
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_string(), value.trim().to_string()));
    }
    let mut asked = Asked { method, path, headers, body: Vec::new() };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

fn write(mut stream: TcpStream, asked: &Asked, answer: &Answer, sent: &AtomicU64) -> std::io::Result<()> {
    if let Body::Raw(bytes) = &answer.body {
        return stream.write_all(bytes);
    }
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    let mut send = |bytes: &[u8]| {
        stream.write_all(bytes)?;
        sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        std::io::Result::Ok(())
    };
    match &answer.body {
        Body::Bytes(bytes) => send(bytes),
        Body::Endless(bytes) => loop {
            send(bytes)?;
        },
        Body::ThenSilence(bytes) => {
            send(bytes)?;
            // Until the other side hangs up.
            stream.read(&mut [0]).map(drop)
        }
        Body::Slowly(bytes, size, pause) => {
            for part in bytes.chunks(*size) {
                send(part)?;
                std::thread::sleep(*pause);
            }
            Ok(())
        }
        Body::Raw(_) => unreachable!("written above"),
    }
}

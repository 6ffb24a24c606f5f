//! A Hub that answers whatever it likes: each part is the answer to one request. What begins with `{` or `[` gets a
//! head that is sound, all else is sent as it is. The client takes the server as its proxy, so that no address in an
//! answer leads anywhere else.
#![no_main]

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    thread,
    time::Duration,
};

use cogview4_fuzz::{Scratch, parts, said, target};
use cogview4_hub::{Hub, Repo, Source, Timeouts, choose};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const MOST_ANSWERS: usize = 8;
/// Larger files are not downloaded.
const MOST_BYTES: u64 = 1 << 16;
const PATIENCE: Duration = Duration::from_millis(500);

/// The answers that are still to be given, the next one last.
static ANSWERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

static HUB: LazyLock<Hub> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(serve(&stream))));
    for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "http_proxy", "https_proxy"] {
        // SAFETY: the thread above reads no variables, and there is no other one yet.
        unsafe { std::env::set_var(name, &url) };
    }
    for name in ["NO_PROXY", "no_proxy"] {
        // SAFETY: as above.
        unsafe { std::env::remove_var(name) };
    }
    let timeouts = Timeouts { connect: PATIENCE, first_byte: PATIENCE, stall: PATIENCE };
    let hub = Hub::from_env().with_endpoint("http://hub.invalid").with_timeouts(timeouts).with_token(None);
    hub.offline(false).with_sleep(Arc::new(|_| {})).with_progress(Arc::new(Quiet))
});

/// Tells nobody how far a download is.
#[derive(Debug)]
struct Quiet;

impl cogview4_hub::Progress for Quiet {}

target!(read);

fn read(data: &[u8]) {
    let folder = Scratch::new();
    let hub = HUB.clone().with_cache_dir(folder.path());
    let mut answers: Vec<_> = parts(data, MOST_ANSWERS).into_iter().map(answer).collect();
    answers.reverse();
    *ANSWERS.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    let Source::Hub { id, .. } = Source::from("a/b") else { unreachable!("a name") };
    let Some(listing) = said(hub.list(&Repo::model(id))) else { return };
    said(choose::pipeline_files(&listing, &["transformer", "vae", "scheduler"], None));
    said(choose::model_files(&listing, "", Some("fp16")));
    let small = listing.files.iter().filter(|file| file.size <= MOST_BYTES).take(2);
    if let Some(snapshot) = said(hub.download(&listing, small)) {
        assert!(snapshot.starts_with(folder.path()), "{}", snapshot.display());
        said(hub.list_cached(&listing.repo));
    }
}

/// An answer as it goes over the line.
fn answer(part: &[u8]) -> Vec<u8> {
    if !part.starts_with(b"{") && !part.starts_with(b"[") {
        return part.to_vec();
    }
    let head = format!("HTTP/1.1 200 OK\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: {}\r\n\r\n", part.len());
    [head.as_bytes(), part].concat()
}

/// Answers one request, through a tunnel where one is asked for.
fn serve(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    if head(&mut reader)?.starts_with("CONNECT") {
        (&*stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        head(&mut reader)?;
    }
    let next = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner).pop();
    (&*stream).write_all(&next.unwrap_or_default())
}

/// The first line of a request, whose head is passed over.
fn head(reader: &mut impl BufRead) -> std::io::Result<String> {
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok(first)
}

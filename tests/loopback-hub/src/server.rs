//! Connections: a thread each, one request each.

use std::{
    io::{self, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    answer::wait_for_hang_up,
    fault::{Fault, Rule},
    request::Request,
    routes,
    state::State,
};

/// A request under the number by which it is found again.
#[derive(Debug)]
pub(crate) struct Logged {
    number: u64,
    pub(crate) request: Request,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    port: u16,
    state: Mutex<State>,
    log: Mutex<Vec<Logged>>,
    rules: Mutex<Vec<Rule>>,
    numbers: AtomicU64,
    stopped: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            port,
            state: Mutex::default(),
            log: Mutex::default(),
            rules: Mutex::default(),
            numbers: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn store(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Vec<Logged>> {
        locked(&self.log)
    }

    pub(crate) fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        locked(&self.rules)
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// What goes wrong with a request. A rule may look at the hub, so that nothing is locked while it is asked.
    fn fault(&self, request: &Request) -> Option<Fault> {
        let mut functions = Vec::new();
        for rule in self.rules().iter_mut() {
            if let Some(fault) = rule.next(request) {
                return Some(fault);
            }
            if let Rule::Function(function) = rule {
                functions.push(function.clone());
            }
        }
        functions.iter().find_map(|function| function(request))
    }

    fn edit(&self, number: u64, change: impl FnOnce(&mut Request)) {
        if let Some(logged) = self.log().iter_mut().rev().find(|logged| logged.number == number) {
            change(&mut logged.request);
        }
    }
}

/// Takes connections until it is stopped.
pub(crate) fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopped() {
            break;
        }
        let Ok(stream) = stream else { continue };
        let shared = shared.clone();
        // Clients that hang up are part of some tests.
        std::thread::spawn(move || drop(connection(stream, &shared)));
    }
}

fn connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let Some(mut request) = Request::read_head(&mut reader)? else { return Ok(()) };
    let number = shared.numbers.fetch_add(1, Ordering::SeqCst);
    shared.log().push(Logged { number, request: request.clone() });
    let fault = shared.fault(&request);
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if let Some(Fault::CutRequest { after }) = fault {
        let read = request.read_body(&mut reader, Some(after))?.len() as u64;
        shared.edit(number, |logged| logged.bytes_received = read);
        return stream.shutdown(Shutdown::Both);
    }
    let body = request.read_body(&mut reader, None)?;
    shared.edit(number, |logged| *logged = request.clone());
    let is_stopped = || shared.is_stopped();
    match &fault {
        Some(Fault::Silent) => return wait_for_hang_up(&mut stream, &is_stopped),
        Some(Fault::Raw(bytes)) => return stream.write_all(bytes),
        Some(Fault::Late(wait)) => std::thread::sleep(*wait),
        _ => {}
    }
    let answer = match fault.as_ref().and_then(Fault::answer) {
        Some(answer) => answer,
        None => routes::answer(shared, &request, body),
    };
    if matches!(fault, Some(Fault::NoAnswer)) {
        return stream.shutdown(Shutdown::Both);
    }
    shared.edit(number, |logged| logged.status = answer.status);
    let mut sent = |bytes| shared.edit(number, |logged| logged.bytes_sent += bytes);
    answer.send(&mut stream, request.method == "HEAD", fault.as_ref(), &is_stopped, &mut sent)?;
    stream.shutdown(Shutdown::Write)
}

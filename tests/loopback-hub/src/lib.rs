//! A Hugging Face Hub on loopback, for tests: Python's `huggingface_hub` takes it for one. It serves repositories,
//! takes pushes, remembers what was asked, and misbehaves where a test says so.
//!
//! The Hub is `http://127.0.0.1:PORT`, its storage of large files `http://localhost:PORT`: another host, which refuses
//! requests that carry a token, as storage does. Connections serve one request each.
//!
//! ```
//! use loopback_hub::{Kind, LoopbackHub};
//!
//! let hub = LoopbackHub::start();
//! hub.add_repo(Kind::Model, "THUDM/Tiny", "main", [("config.json", "{}")]);
//! assert!(hub.endpoint().starts_with("http://127.0.0.1:"));
//! assert!(hub.requests().is_empty());
//! ```

mod address;
mod answer;
mod blob;
mod fault;
mod request;
mod routes;
mod server;
mod state;

use std::{
    io,
    net::TcpListener,
    sync::{Arc, MutexGuard},
};

pub use blob::Files;
pub use fault::Fault;
pub use request::Request;
pub use state::{Access, Kind, Role};

use fault::Rule;
use server::Shared;
use state::State;

/// A Hub that runs until it is dropped.
#[derive(Debug)]
pub struct LoopbackHub {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LoopbackHub {
    /// A Hub without repositories at a free port.
    ///
    /// # Panics
    /// Where there is no loopback.
    pub fn start() -> Self {
        Self::start_at(0).expect("a port on loopback")
    }

    /// The same at a port of one's choice.
    ///
    /// # Errors
    /// Where the port is not to be had.
    pub fn start_at(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let shared = Arc::new(Shared::new(listener.local_addr()?.port()));
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || server::serve(&listener, &shared)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The address of the Hub, for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        self.shared.endpoint()
    }

    /// The address of its storage.
    pub fn store(&self) -> String {
        self.shared.store()
    }

    /// A commit that makes a repository's `revision` (a branch, or `refs/convert/parquet`) hold these files and no
    /// others; the repository is made where there is none. Gives the commit's name.
    ///
    /// # Panics
    /// Where `id` is not `OWNER/NAME`, or a folder cannot be read.
    pub fn add_repo(&self, kind: Kind, id: &str, revision: &str, files: impl Into<Files>) -> String {
        assert!(id.split('/').count() == 2, "{id}: a repository is called OWNER/NAME");
        let Files(files) = files.into();
        self.state().replace(kind, id, revision, files)
    }

    /// Who may read a repository. Whoever may write is not touched by this.
    ///
    /// # Panics
    /// Where there is no such repository.
    pub fn set_access(&self, kind: Kind, id: &str, access: Access) {
        self.state().repository_mut(kind, id).expect("a repository that is there").access = access;
    }

    /// Requests for `old` are sent on to `new`.
    pub fn rename(&self, kind: Kind, old: &str, new: &str) {
        self.state().rename(kind, old, new);
    }

    /// A token that is good. As long as there is none, every token is, and may write.
    pub fn add_token(&self, token: &str, role: Role) {
        self.state().tokens.push((token.into(), role));
    }

    /// Larger files are kept as large files (LFS), in bytes; 100,000 at first. Some kinds of files always are:
    /// `*.safetensors`, `*.parquet`.
    pub fn set_lfs_threshold(&self, bytes: u64) {
        self.state().lfs_threshold = bytes;
    }

    /// Entries on a page of a listing; 1000 at first.
    pub fn set_page_size(&self, entries: usize) {
        self.state().page_size = entries;
    }

    /// Objects that are longer than this come in parts of this size, in bytes; none do at first.
    pub fn set_part_size(&self, bytes: u64) {
        self.state().part_size = bytes;
    }

    /// The content of a repository's files at a revision; none where there is no such repository.
    pub fn files(&self, kind: Kind, id: &str, revision: &str) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        let commit = state.repository(kind, id).and_then(|repository| repository.at(revision));
        let files = commit.iter().flat_map(|commit| &commit.files);
        files.map(|(path, entry)| (path.clone(), entry.blob.bytes())).collect()
    }

    /// Names and messages of a repository's commits, the first first.
    pub fn commits(&self, kind: Kind, id: &str) -> Vec<(String, String)> {
        let state = self.state();
        let commits = state.repository(kind, id).into_iter().flat_map(|repository| &repository.commits);
        commits.map(|commit| (commit.oid.clone(), commit.message.clone())).collect()
    }

    /// Whether a repository is private; `None` where there is none.
    pub fn is_private(&self, kind: Kind, id: &str) -> Option<bool> {
        self.state().repository(kind, id).map(|repository| matches!(repository.access, Access::Private(_)))
    }

    /// All requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log().iter().map(|logged| logged.request.clone()).collect()
    }

    /// All requests so far; they are forgotten.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.log()).into_iter().map(|logged| logged.request).collect()
    }

    /// Asks a function at every request what goes wrong with it. It sees the head of the request.
    pub fn on(&self, rule: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) {
        self.shared.rules().push(Rule::Function(Arc::new(rule)));
    }

    /// What goes wrong with the next requests whose path (with its query) holds `path`, one after another.
    pub fn fault(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.shared.rules().push(Rule::List(path.into(), faults.into_iter().collect()));
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.shared.rules().clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for LoopbackHub {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // A panic there is one of a connection's thread at most.
            let _ = thread.join();
        }
    }
}

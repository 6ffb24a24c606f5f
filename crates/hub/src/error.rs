//! What can go wrong in this crate. Every message is one line that names the culprit, without secrets: no token, and of
//! an address neither user nor query.

use std::path::PathBuf;

use crate::repo::{Repo, RepoId, RepoKind};

/// Result of this crate.
pub type Result<T, E = HubError> = core::result::Result<T, E>;

/// Errors of `cogview4-hub`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A name or revision is none that the Hub has.
    #[error("{name}: {reason}")]
    BadName {
        /// The name as it was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The endpoint, the token or another setting cannot be used.
    #[error("{name}: {reason}")]
    BadSetting {
        /// The variable, flag or file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The repository is not there, or is private.
    #[error(
        "{id}: there is no such {kind} on {endpoint}, or it is private: look at the name, or set HF_TOKEN to a token \
         that may read it; a folder is meant by ./{id}"
    )]
    RepoNotFound {
        /// Its name.
        id: RepoId,
        /// What it should hold.
        kind: RepoKind,
        /// Where it was looked for.
        endpoint: String,
    },
    /// The repository's terms must be accepted first.
    #[error("{id}: gated: accept its terms at {page}, then set HF_TOKEN to a token of that account")]
    Gated {
        /// Its name.
        id: RepoId,
        /// The page with the terms.
        page: String,
    },
    /// The token is not one, or was taken back.
    #[error("{endpoint} refuses the token: set HF_TOKEN to one of {endpoint}/settings/tokens, or unset it")]
    WrongToken {
        /// Who refuses.
        endpoint: String,
    },
    /// There is no token, and this needs one.
    #[error("no token: set HF_TOKEN to one of {endpoint}/settings/tokens that may write")]
    NoToken {
        /// Where it should be from.
        endpoint: String,
    },
    /// The Hub does not take the card.
    #[error("{path}: the Hub refuses this card: {reason}", path = path.display())]
    Card {
        /// The card.
        path: PathBuf,
        /// What the Hub says.
        reason: String,
    },
    /// A file is another one than it was.
    #[error("{path}: changed while it was pushed: push again once nobody writes to it", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The token may not do this.
    #[error("{what}: forbidden: {reason}")]
    Forbidden {
        /// What was asked for.
        what: String,
        /// What the Hub says.
        reason: String,
    },
    /// The branch, tag or commit is not there.
    #[error("{id}: there is no revision {revision}")]
    RevisionNotFound {
        /// The repository.
        id: RepoId,
        /// The branch, tag or commit.
        revision: String,
    },
    /// The file is not there.
    #[error("{repo}: there is no file {path}")]
    EntryNotFound {
        /// The repository.
        repo: Box<Repo>,
        /// The file.
        path: String,
    },
    /// The Hub took the repository off.
    #[error("{id}: the Hub has disabled access to it")]
    Disabled {
        /// Its name.
        id: RepoId,
    },
    /// Too many requests.
    #[error("{what}: too many requests (429){after}: try again later, or set HF_TOKEN", after = shown_wait(*.seconds))]
    RateLimited {
        /// What was asked for.
        what: String,
        /// How long the Hub asks to wait, in seconds.
        seconds: Option<u64>,
    },
    /// Another status than was expected.
    #[error("{what}: {host} answers {status}{reason}")]
    Status {
        /// What was asked for.
        what: String,
        /// Who answered.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What the Hub says, after a colon; or nothing.
        reason: String,
    },
    /// Nobody answers, or not in time.
    #[error("{what}: cannot reach {host}: {reason}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// Who was asked.
        host: String,
        /// What happened.
        reason: String,
    },
    /// An answer that no Hub gives.
    #[error("{what}: {host} does not answer as a Hub does: {reason}")]
    NotAHub {
        /// What was asked for.
        what: String,
        /// Who answered.
        host: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("{what}: {host} redirects {reason}")]
    Redirect {
        /// What was asked for.
        what: String,
        /// Who answered.
        host: String,
        /// Why it is not followed.
        reason: String,
    },
    /// The list of files holds what cannot be.
    #[error("{repo}: its list of files: {reason}")]
    BadListing {
        /// The repository.
        repo: Box<Repo>,
        /// What is wrong.
        reason: String,
    },
    /// The connection was cut again and again.
    #[error("{file}: cut after {have} of {size} bytes: {reason}; what came is kept, the next run goes on there")]
    Cut {
        /// The file and its repository.
        file: String,
        /// Bytes that are here.
        have: u64,
        /// Bytes of the whole file.
        size: u64,
        /// What happened.
        reason: String,
    },
    /// The file has another size than the list says.
    #[error("{file}: {found} bytes, its list of files says {expected}")]
    Size {
        /// The file and its repository.
        file: String,
        /// What came.
        found: String,
        /// What should have come, in bytes.
        expected: u64,
    },
    /// The file's content is not what the list says.
    #[error("{file}: checksum {found}, its list of files says {expected}; it was downloaded twice and not kept")]
    Checksum {
        /// The file and its repository.
        file: String,
        /// Of what came.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Not allowed to ask the Hub, and not in the cache.
    #[error("{repo}: {wanted} not in the cache {cache}, and HF_HUB_OFFLINE is set", cache = cache.display())]
    Offline {
        /// The repository.
        repo: Box<Repo>,
        /// What is not there.
        wanted: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The repository has no weights that can be read.
    #[error("{repo}: {component}: {reason}")]
    NoWeights {
        /// The repository.
        repo: Box<Repo>,
        /// The component.
        component: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not enough room for the files.
    #[error("{path}: {needed} bytes to download, {free} are free", path = path.display())]
    DiskFull {
        /// The cache.
        path: PathBuf,
        /// Bytes to download.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A file or folder of the cache cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl HubError {
    pub(crate) fn io(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Io { path: path.into(), reason: reason.to_string() }
    }
}

fn shown_wait(seconds: Option<u64>) -> String {
    seconds.map(|seconds| format!(", it asks for {seconds} s of patience")).unwrap_or_default()
}

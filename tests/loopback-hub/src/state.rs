//! Repositories, objects and tokens of a Hub.

use std::{collections::BTreeMap, sync::Arc};

use sha1::{Digest, Sha1};

use crate::{
    blob::{Blob, hex},
    request::Request,
};

/// Files that are kept as large files whatever their size.
const LFS_ENDINGS: [&str; 2] = [".safetensors", ".parquet"];

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A pipeline or model.
    Model,
    /// A data set.
    Dataset,
}

impl Kind {
    /// `models` or `datasets`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// What stands before names of its repositories in addresses of files.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

/// Who may read a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Public,
    /// Who has this token; others are told that there is no such repository. An empty one stands for every good token.
    Private(String),
    /// Who has this token, as far as files go; others are told that the repository is gated.
    Gated(String),
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reading.
    Read,
    /// Reading and writing, in the name of the user `tester` and of the organisation `testers`.
    Write,
}

/// The user whom every good token is of.
pub(crate) const USER: &str = "tester";
/// The user's organisation.
pub(crate) const ORGANISATION: &str = "testers";

/// A file of a commit.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) blob: Arc<Blob>,
    pub(crate) is_large: bool,
}

impl Entry {
    /// The name of its content, as clients compare it.
    pub(crate) fn oid(&self) -> &str {
        if self.is_large { &self.blob.sha256 } else { &self.blob.git_sha1 }
    }
}

#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) oid: String,
    pub(crate) message: String,
    pub(crate) files: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
pub(crate) struct Repository {
    /// The first first.
    pub(crate) commits: Vec<Commit>,
    /// Places in `commits`.
    pub(crate) branches: BTreeMap<String, usize>,
    pub(crate) access: Access,
}

impl Repository {
    /// The commit that a branch or a commit's name stands for.
    pub(crate) fn at(&self, revision: &str) -> Option<&Commit> {
        match self.branches.get(revision) {
            Some(&place) => self.commits.get(place),
            None => self.commits.iter().find(|commit| commit.oid == revision),
        }
    }

    /// One more commit on a branch; gives its name.
    pub(crate) fn commit(&mut self, branch: &str, message: &str, files: BTreeMap<String, Entry>) -> String {
        let mut name = Sha1::new();
        name.update(format!("{} {branch} {message}\n", self.commits.len()));
        for (path, entry) in &files {
            name.update(format!("{path} {}\n", entry.blob.sha256));
        }
        let oid = hex(name.finalize());
        self.branches.insert(branch.into(), self.commits.len());
        self.commits.push(Commit { oid: oid.clone(), message: message.into(), files });
        oid
    }
}

#[derive(Debug)]
pub(crate) struct State {
    repositories: BTreeMap<(Kind, String), Repository>,
    renamed: BTreeMap<(Kind, String), String>,
    /// Large files by their SHA-256.
    pub(crate) objects: BTreeMap<String, Arc<Blob>>,
    /// Parts of objects that are on their way, by number.
    pub(crate) parts: BTreeMap<String, BTreeMap<usize, Blob>>,
    pub(crate) tokens: Vec<(String, Role)>,
    pub(crate) lfs_threshold: u64,
    pub(crate) page_size: usize,
    pub(crate) part_size: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            repositories: BTreeMap::new(),
            renamed: BTreeMap::new(),
            objects: BTreeMap::new(),
            parts: BTreeMap::new(),
            tokens: Vec::new(),
            lfs_threshold: 100_000,
            page_size: 1000,
            part_size: u64::MAX,
        }
    }
}

impl State {
    pub(crate) fn repository(&self, kind: Kind, id: &str) -> Option<&Repository> {
        self.repositories.get(&(kind, id.to_owned()))
    }

    pub(crate) fn repository_mut(&mut self, kind: Kind, id: &str) -> Option<&mut Repository> {
        self.repositories.get_mut(&(kind, id.to_owned()))
    }

    /// A new repository, empty.
    pub(crate) fn create(&mut self, kind: Kind, id: &str) -> &mut Repository {
        self.repositories.entry((kind, id.to_owned())).or_default()
    }

    pub(crate) fn rename(&mut self, kind: Kind, old: &str, new: &str) {
        self.renamed.insert((kind, old.into()), new.into());
    }

    pub(crate) fn renamed(&self, kind: Kind, id: &str) -> Option<&str> {
        self.renamed.get(&(kind, id.to_owned())).map(String::as_str)
    }

    /// Whether a file is kept as a large one.
    pub(crate) fn is_large(&self, path: &str, size: u64) -> bool {
        size > 0 && (size > self.lfs_threshold || LFS_ENDINGS.iter().any(|ending| path.ends_with(ending)))
    }

    /// A content as a file of a commit; if it is large, the storage has it then.
    pub(crate) fn entry(&mut self, path: &str, blob: Blob) -> Entry {
        let entry = Entry { is_large: self.is_large(path, blob.size), blob: Arc::new(blob) };
        if entry.is_large {
            self.objects.insert(entry.blob.sha256.clone(), entry.blob.clone());
        }
        entry
    }

    /// A commit that holds these files and no others.
    pub(crate) fn replace(&mut self, kind: Kind, id: &str, revision: &str, files: Vec<(String, Blob)>) -> String {
        let entries = files.into_iter().map(|(path, blob)| (path.clone(), self.entry(&path, blob))).collect();
        self.create(kind, id).commit(revision, "Files of a test", entries)
    }

    /// What a request's token allows; `None` where it is no good one.
    pub(crate) fn role(&self, request: &Request) -> Option<Role> {
        let token = request.token()?;
        if self.tokens.is_empty() {
            return Some(Role::Write);
        }
        self.tokens.iter().find(|(known, _)| known == token).map(|(_, role)| *role)
    }

    /// Whether a request's token opens what `secret` opens.
    pub(crate) fn opens(&self, request: &Request, secret: &str) -> bool {
        if secret.is_empty() { self.role(request).is_some() } else { request.token() == Some(secret) }
    }
}

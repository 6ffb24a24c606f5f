//! Which files a repository has at one commit: from the Hub, page by page, or from the cache.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    cache::RepoCache,
    error::{HubError, Result},
    http::{Request, Subject, encode_segment},
    hub::Hub,
    repo::{Repo, is_commit, is_hex, is_relative_path, shown_name},
};

/// Repositories with more files are refused.
const MAX_FILES: usize = 100_000;
/// Lists of more pages are refused, so that one without an end has one.
const MAX_PAGES: usize = 1_000;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path in the repository, with slashes.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Git's SHA-1 of the file, or of what stands for it where it is large.
    pub oid: String,
    /// The SHA-256 of a large file.
    pub lfs_sha256: Option<String>,
}

impl RemoteFile {
    /// What its content is called in the cache: the checksum that the Hub gives as `ETag`.
    pub fn etag(&self) -> &str {
        self.lfs_sha256.as_deref().unwrap_or(&self.oid)
    }
}

/// The files of a repository at one commit.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The repository and what was asked for.
    pub repo: Repo,
    /// The commit that the revision is.
    pub commit: String,
    /// The files, by path; of a listing from the cache those that are there.
    pub files: Vec<RemoteFile>,
    /// Whether the list is that of the cache, and the Hub was not asked.
    pub from_cache: bool,
}

impl Listing {
    /// A file by its path.
    pub fn file(&self, path: &str) -> Option<&RemoteFile> {
        let at = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        Some(&self.files[at])
    }
}

#[derive(Deserialize)]
struct Info {
    sha: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: serde_json::Value,
    oid: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: Option<u64>,
}

impl Hub {
    /// The files of a repository. The commit is settled here, once: what is downloaded by this list is of that commit,
    /// whatever is pushed meanwhile. Offline, those that the cache holds.
    ///
    /// # Errors
    /// There is no such repository or revision, or it may not be read; the answer is none of a Hub, or holds paths that
    /// lead out of the repository.
    pub fn list(&self, repo: &Repo) -> Result<Listing> {
        let revision = repo.checked_revision()?;
        if self.is_offline() {
            return self.list_cached(repo);
        }
        let commit = self.commit(repo, revision).map_err(|error| self.with_advice(repo, error))?;
        let mut files = BTreeMap::new();
        let tree = format!("{}/tree/{commit}?", repo.api_path());
        let mut query = "recursive=true".to_string();
        for _ in 0..MAX_PAGES {
            let next = self.list_page(repo, &format!("{tree}{query}"), &mut files)?;
            match next {
                Some(next) if next != query => query = next,
                Some(_) => return Err(bad(repo, "it leads in a circle")),
                None => {
                    check_folders(repo, &files)?;
                    let files = files.into_values().collect();
                    return Ok(Listing { repo: repo.clone(), commit, files, from_cache: false });
                }
            }
        }
        Err(bad(repo, format!("more than {MAX_PAGES} pages")))
    }

    /// What the cache knows of a revision, without asking the Hub.
    ///
    /// # Errors
    /// [`HubError::Offline`] where it knows nothing.
    pub fn list_cached(&self, repo: &Repo) -> Result<Listing> {
        let revision = repo.checked_revision()?;
        let cache = RepoCache::new(self, repo);
        let commit = if is_commit(revision) { Some(revision.to_string()) } else { cache.read_ref(revision) };
        let commit = commit.filter(|commit| cache.snapshot(commit).is_dir()).ok_or_else(|| HubError::Offline {
            repo: repo.clone().into(),
            wanted: format!("its revision {revision} is"),
            cache: self.cache_dir().into(),
        })?;
        let files = cache.files(&commit)?;
        Ok(Listing { repo: repo.clone(), commit, files, from_cache: true })
    }

    /// Where nobody answers, the cache may do; but it may be old, so it is not taken unasked.
    fn with_advice(&self, repo: &Repo, error: HubError) -> HubError {
        match error {
            HubError::Unreachable { what, host, reason } if self.list_cached(repo).is_ok() => {
                let reason = format!("{reason}; HF_HUB_OFFLINE=1 takes what the cache holds");
                HubError::Unreachable { what, host, reason }
            }
            error => error,
        }
    }

    fn commit(&self, repo: &Repo, revision: &str) -> Result<String> {
        let url = format!("{}/revision/{}", repo.api_path(), encode_segment(revision));
        let value = self.http().get_json(&url, Subject::Repo(repo))?;
        let not_a_hub = |reason: String| HubError::NotAHub {
            what: repo.to_string(),
            host: crate::http::shown(self.endpoint()),
            reason,
        };
        let info: Info = serde_json::from_value(value).map_err(|error| not_a_hub(format!("JSON: {error}")))?;
        let commit = info.sha.filter(|sha| is_commit(sha)).ok_or_else(|| not_a_hub("it names no commit".into()))?;
        if is_commit(revision) && commit != revision {
            return Err(not_a_hub(format!("asked for the commit {revision}, it names {commit}")));
        }
        Ok(commit)
    }

    /// One page; the query of the next one, where there is one.
    fn list_page(&self, repo: &Repo, url: &str, files: &mut BTreeMap<String, RemoteFile>) -> Result<Option<String>> {
        let subject = Subject::Repo(repo);
        let response = self.http().send(&Request::get(url, subject))?;
        let entries: Vec<Entry> =
            serde_json::from_value(response.json(subject)?).map_err(|error| bad(repo, format!("JSON: {error}")))?;
        for entry in entries {
            if entry.kind != "file" {
                continue;
            }
            let file = checked_file(repo, entry)?;
            if files.len() >= MAX_FILES {
                return Err(bad(repo, format!("more than {MAX_FILES} files")));
            }
            if let Some(twice) = files.insert(file.path.clone(), file) {
                return Err(bad(repo, format!("{:?} is there twice", shown_name(&twice.path))));
            }
        }
        // Only its query is used: the token stays with the endpoint, and mirrors that repeat the Hub's address work.
        Ok(response.header("link").and_then(next_query).map(str::to_owned))
    }
}

/// The file that an entry is, once it can be put into a folder.
fn checked_file(repo: &Repo, entry: Entry) -> Result<RemoteFile> {
    let Entry { path, size, oid, lfs, .. } = entry;
    let refuse = |reason: &str| Err(bad(repo, format!("{}: {reason}", shown_name(&path))));
    if !is_relative_path(&path) {
        return refuse("not a path below the repository");
    }
    let Some(size) = size.as_u64() else {
        return refuse("its size is none");
    };
    let Some(oid) = oid.filter(|oid| is_hex(oid, 40)) else {
        return refuse("its oid is no SHA-1");
    };
    if lfs.as_ref().is_some_and(|lfs| !is_hex(&lfs.oid, 64)) {
        return refuse("its oid of LFS is no SHA-256");
    }
    if lfs.as_ref().is_some_and(|lfs| lfs.size.is_some_and(|other| other != size)) {
        return refuse("it has two sizes");
    }
    Ok(RemoteFile { size, oid, lfs_sha256: lfs.map(|lfs| lfs.oid), path })
}

/// No file may be a folder too.
fn check_folders(repo: &Repo, files: &BTreeMap<String, RemoteFile>) -> Result<()> {
    for path in files.keys() {
        for (at, _) in path.match_indices('/') {
            if files.contains_key(&path[..at]) {
                return Err(bad(repo, format!("{} is a file and a folder", shown_name(&path[..at]))));
            }
        }
    }
    Ok(())
}

/// The query of the address that `Link` calls the next one.
fn next_query(link: &str) -> Option<&str> {
    let mut rest = link;
    while let Some((_, after)) = rest.split_once('<') {
        let (url, after) = after.split_once('>')?;
        let parameters = after.split('<').next().unwrap_or_default();
        if parameters.contains("rel=\"next\"") || parameters.contains("rel=next") {
            return url.split_once('?').map(|(_, query)| query);
        }
        rest = after;
    }
    None
}

fn bad(repo: &Repo, reason: impl Into<String>) -> HubError {
    HubError::BadListing { repo: repo.clone().into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_the_link() {
        for (link, expected) in [
            (r#"<https://hub.org/api/x?cursor=a%3D&limit=2>; rel="next""#, Some("cursor=a%3D&limit=2")),
            (r#"<https://h/x?p=1>; rel="prev", <https://h/x?p=3>; rel="next""#, Some("p=3")),
            (r#"<https://h/x?p=1>; rel="prev""#, None),
            ("<", None),
            ("nothing", None),
        ] {
            assert_eq!(next_query(link), expected, "{link}");
        }
    }
}

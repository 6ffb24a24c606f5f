//! What a repository on the Hub is called, on the Hub and in the cache.

use std::{fmt, str::FromStr};

use crate::error::{HubError, Result};

/// Longer parts of names are refused by the Hub.
const MAX_NAME: usize = 96;

/// OWNER/NAME, as the Hub takes it.
///
/// ```
/// use cogview4_hub::RepoId;
///
/// let id: RepoId = "THUDM/CogView4-6B".parse()?;
/// assert_eq!((id.owner(), id.name()), ("THUDM", "CogView4-6B"));
/// assert!("CogView4-6B".parse::<RepoId>().is_err());
/// # Ok::<(), cogview4_hub::HubError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoId(String);

impl RepoId {
    /// The user or organisation.
    pub fn owner(&self) -> &str {
        self.0.split_once('/').map_or("", |(owner, _)| owner)
    }

    /// The name without the owner.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }

    /// OWNER/NAME.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason| Err(HubError::BadName { name: shown_name(text), reason });
        let Some((owner, name)) = text.split_once('/') else {
            return refuse("a repository is called OWNER/NAME");
        };
        if name.contains('/') {
            return refuse("a repository is called OWNER/NAME");
        }
        for part in [owner, name] {
            let in_charset = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if part.is_empty() || part.len() > MAX_NAME || !part.chars().all(in_charset) {
                return refuse("owner and name have 1 to 96 letters, digits, dashes, underscores or dots");
            }
            if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
                return refuse("owner and name begin and end with a letter, a digit or an underscore");
            }
        }
        if text.contains("--") || text.contains("..") || text.ends_with(".git") {
            return refuse("names have no '--' and no '..', and do not end with .git");
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RepoKind {
    /// A pipeline or model.
    Model,
    /// A data set.
    Dataset,
}

impl RepoKind {
    /// `models` or `datasets`, as in addresses of the API and in names of the cache's folders.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        })
    }
}

/// A repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repo {
    /// What it holds.
    pub kind: RepoKind,
    /// Its name.
    pub id: RepoId,
    /// Branch, tag or commit; `main` where none was asked for.
    pub revision: Option<String>,
}

impl Repo {
    /// A model at its branch `main`.
    pub fn model(id: RepoId) -> Self {
        Self { kind: RepoKind::Model, id, revision: None }
    }

    /// A data set at its branch `main`.
    pub fn dataset(id: RepoId) -> Self {
        Self { kind: RepoKind::Dataset, id, revision: None }
    }

    /// The same repository at another branch, tag or commit; `None` is `main`.
    #[must_use]
    pub fn with_revision(mut self, revision: Option<String>) -> Self {
        self.revision = revision;
        self
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// Its folder in the cache.
    pub(crate) fn folder_name(&self) -> String {
        format!("{}--{}--{}", self.kind.plural(), self.id.owner(), self.id.name())
    }

    /// Its path in addresses of files and pages.
    pub fn url_path(&self) -> String {
        match self.kind {
            RepoKind::Model => self.id.to_string(),
            RepoKind::Dataset => format!("datasets/{}", self.id),
        }
    }

    /// Its path in addresses of the API.
    pub fn api_path(&self) -> String {
        format!("/api/{}/{}", self.kind.plural(), self.id)
    }

    /// The revision, once it is known to be one.
    ///
    /// # Errors
    /// [`HubError::BadName`] where git has no such names; such a revision must not become a path in the cache.
    pub(crate) fn checked_revision(&self) -> Result<&str> {
        let revision = self.revision();
        if is_relative_path(revision) && !revision.contains([' ', '~', '^', ':', '?', '*', '[']) {
            return Ok(revision);
        }
        Err(HubError::BadName { name: shown_name(revision), reason: "a revision is a branch, a tag or a commit" })
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "{} at {revision}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

/// Whether a path of a repository stays below the folder that it is put into, on every system.
pub(crate) fn is_relative_path(path: &str) -> bool {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= 255;
    let odd = |c: char| c.is_control() || c == '\\' || (cfg!(windows) && c == ':');
    path.len() <= 1024 && path.split('/').all(is_name) && !path.chars().any(odd)
}

/// Whether a text is the full name of a commit.
pub(crate) fn is_commit(text: &str) -> bool {
    is_hex(text, 40)
}

/// Whether a text is that many lower-case hexadecimal digits.
pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A name from outside as one line of a message may hold it.
pub(crate) fn shown_name(text: &str) -> String {
    let shown: String = text.chars().take(120).flat_map(char::escape_debug).collect();
    if text.chars().count() > 120 { shown + "..." } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_hub() {
        let long = "a".repeat(97);
        for good in ["THUDM/CogView4-6B", "a/b", "raulc0399/open_pose_controlnet", "a.b/c_d.e", "0/_"] {
            assert_eq!(good.parse::<RepoId>().expect(good).as_str(), good);
        }
        let bad =
            ["", "a", "/a", "a/", "a/b/c", "a/b--c", "a/b..c", "a/b.git", "-a/b", "a/b.", "a b/c", "ä/b", "a\\/b"];
        for bad in bad.into_iter().chain([format!("{long}/a").as_str(), "a/b\n"]) {
            let message = bad.parse::<RepoId>().expect_err(bad).to_string();
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn paths_stay_below_their_folder() {
        for good in ["a", "a/b.json", "..a/b..", ".gitattributes"] {
            assert!(is_relative_path(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/../b", "a/..", "./a", "a\\b", "a\nb", "a\0"] {
            assert!(!is_relative_path(bad), "{bad:?}");
        }
    }

    #[test]
    fn revisions_that_leave_the_cache_are_refused() {
        let repo = Repo::model("a/b".parse().expect("a name"));
        for (revision, good) in [("refs/convert/parquet", true), ("v1.0", true), ("../../x", false), ("a b", false)] {
            assert_eq!(
                repo.clone().with_revision(Some(revision.into())).checked_revision().is_ok(),
                good,
                "{revision}"
            );
        }
    }
}

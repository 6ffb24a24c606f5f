//! Where a pipeline, a model or a data set comes from: a folder, or a name on the Hub.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

use crate::repo::RepoId;

/// A folder or file on the disk, or a repository on the Hub.
///
/// What exists on the disk wins over a name, and `./` in front forces a path, as does anything that is no OWNER/NAME:
///
/// ```
/// use cogview4_hub::Source;
///
/// assert!(matches!(Source::from("THUDM/CogView4-6B"), Source::Hub { .. }));
/// assert!(matches!(Source::from("./THUDM/CogView4-6B"), Source::Folder(_)));
/// assert!(matches!(Source::from("runs/pose/checkpoint-100"), Source::Folder(_)));
/// assert!(matches!(Source::from("pipeline"), Source::Folder(_)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder or file on the disk.
    Folder(PathBuf),
    /// A repository on the Hub.
    Hub {
        /// Its name.
        id: RepoId,
        /// Branch, tag or commit; `main` where there is none.
        revision: Option<String>,
    },
}

impl Source {
    /// The same source at a branch, tag or commit; folders have none, and stay as they are.
    #[must_use]
    pub fn with_revision(self, revision: Option<String>) -> Self {
        match self {
            Self::Hub { id, .. } => Self::Hub { id, revision },
            folder @ Self::Folder(_) => folder,
        }
    }

    /// The name on the Hub, of what is there.
    pub fn repo_id(&self) -> Option<&RepoId> {
        match self {
            Self::Hub { id, .. } => Some(id),
            Self::Folder(_) => None,
        }
    }
}

/// As a person would write it.
impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<&str> for Source {
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(id) if !text.starts_with('~') && !Path::new(text).exists() => Self::Hub { id, revision: None },
            _ => Self::Folder(text.into()),
        }
    }
}

impl From<String> for Source {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Source {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

/// A path may be a name that a command line or a test put into one.
impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        path.to_str().map_or_else(|| Self::Folder(path.into()), Self::from)
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&PathBuf> for Source {
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Hub { id, revision: Some(revision) } => write!(f, "{id} at {revision}"),
            Self::Hub { id, revision: None } => write!(f, "{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_folder_wins_over_a_name() {
        // Tests run in the crate's folder.
        assert_eq!(Source::from("src/lib.rs"), Source::Folder("src/lib.rs".into()));
        assert_eq!(Source::from("src/there_is_none").to_string(), "src/there_is_none");
        for (text, on_hub) in [
            ("owner/name", true),
            ("./owner/name", false),
            ("../name", false),
            ("/name", false),
            ("~/name", false),
            ("owner/name/transformer", false),
            ("owner/", false),
            ("owner\\name", false),
            ("name", false),
            ("", false),
        ] {
            assert_eq!(matches!(Source::from(text), Source::Hub { .. }), on_hub, "{text}");
            assert_eq!(Source::from(Path::new(text)), Source::from(text.to_string()), "{text}");
        }
    }

    #[test]
    fn a_revision_is_the_hubs() {
        let at = |source: &str| Source::from(source).with_revision(Some("v1".into())).to_string();
        assert_eq!((at("owner/name").as_str(), at("./folder").as_str()), ("owner/name at v1", "./folder"));
    }
}

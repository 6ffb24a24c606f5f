//! Patterns of files in a README, matched against paths that are there: they can reach nothing else.

use glob::{MatchOptions, Pattern};

/// Longer patterns are refused.
const MAX_LENGTH: usize = 1024;
/// `*` stays in its folder, `**` does not; hidden files are looked at apart.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// A path or glob of `data_files`.
#[derive(Debug, Clone)]
pub(super) struct FilePattern {
    /// The pattern from the data set's folder on.
    pub(super) text: String,
    pattern: Pattern,
    hidden: usize,
    special: usize,
}

impl FilePattern {
    /// Reads a pattern that is relative to a folder of the data set.
    ///
    /// # Errors
    /// What leads out of the data set, and what is no pattern.
    pub(super) fn parse(text: &str, folder: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(80).collect();
        let refuse = |reason: &str| Err(format!("`{shown}` {reason}"));
        if text.len() > MAX_LENGTH {
            return refuse("is too long for a path");
        }
        if text.contains("::") || text.contains("://") {
            return refuse("is an address, only files of the data set itself are read");
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if text.starts_with('/') || text.contains('\\') || parts.contains(&"..") {
            return refuse("leads out of the data set");
        }
        let relative = parts.join("/");
        // The folder is a name, whatever is in it.
        let (full, escaped) = match folder {
            "" => (relative.clone(), relative),
            folder => (format!("{folder}/{relative}"), format!("{}/{relative}", Pattern::escape(folder))),
        };
        let pattern = Pattern::new(&escaped).map_err(|error| format!("`{shown}` is no pattern: {error}"))?;
        let (hidden, special) = (hidden_parts(&full), special_folders(&full));
        Ok(Self { text: full, pattern, hidden, special })
    }

    /// Whether this names one file, which has to be there.
    pub(super) fn is_literal(&self) -> bool {
        !self.text.contains(['*', '?', '['])
    }

    /// Whether a path is meant. What is hidden (`.git`), or in a folder like `__pycache__`, is only where the pattern
    /// says so.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.pattern.matches_with(path, OPTIONS)
            && hidden_parts(path) == self.hidden
            && special_folders(path) == self.special
    }
}

/// Whether a file is left out where nothing names it.
pub(super) fn is_hidden(path: &str) -> bool {
    hidden_parts(path) + special_folders(path) > 0
}

fn hidden_parts(path: &str) -> usize {
    path.split('/').filter(|part| part.starts_with('.')).count()
}

fn special_folders(path: &str) -> usize {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').filter(|part| part.starts_with("__")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_those_of_datasets() {
        for (pattern, path, expected) in [
            ("data/train-*", "data/train-00000-of-00002.parquet", true),
            ("data/train-*", "data/train-0/x.parquet", false),
            ("**", "a/b/c.parquet", true),
            ("data/**", "data/c.parquet", true),
            ("**/*.parquet", "c.parquet", true),
            ("./data//x.parquet", "data/x.parquet", true),
            ("*/x-?.parquet", "a/x-1.parquet", true),
            ("[!a]*/x.parquet", "a/x.parquet", false),
            ("**", ".git/x.parquet", false),
            ("**", "a/.x.parquet", false),
            (".cache/*", ".cache/x.parquet", true),
            ("**", "__pycache__/x.parquet", false),
            ("__*/*", "__pycache__/x.parquet", true),
            ("data/Train*", "data/train.parquet", false),
        ] {
            assert_eq!(FilePattern::parse(pattern, "").unwrap().matches(path), expected, "{pattern} {path}");
        }
        let below = FilePattern::parse("*.parquet", "pose [1]").unwrap();
        assert!(below.matches("pose [1]/x.parquet") && !below.matches("pose 1/x.parquet"));
    }

    #[test]
    fn what_leads_out_of_the_data_set_is_refused() {
        for hostile in [
            "../x.parquet",
            "data/../../x",
            "/etc/passwd",
            "~/../x",
            "https://host/x.parquet",
            "hf://datasets/a/b/x.parquet",
            "zip://x::data.zip",
            "..\\x",
            "C:\\x",
            "a**b",
            "[",
            &"*/".repeat(1000),
        ] {
            let reason = FilePattern::parse(hostile, "").unwrap_err();
            assert!(reason.starts_with('`') && reason.len() < 200, "{reason}");
        }
    }
}

//! What the environment says about the Hub, read as `huggingface_hub` reads it.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::token::Token;

/// Settings of the Hub as an environment gives them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// `HF_ENDPOINT`.
    pub endpoint: Option<String>,
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else that of the user's cache folder.
    pub cache_dir: PathBuf,
    /// `HF_TOKEN`, else the content of `HF_TOKEN_PATH` or of `token` in `HF_HOME`; none where
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set.
    pub token: Option<Token>,
    /// `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// Unless `HF_HUB_DISABLE_PROGRESS_BARS` is set.
    pub progress_bars: bool,
    /// A file of a token that is there and cannot be read, and why.
    pub(crate) unreadable: Option<(PathBuf, String)>,
}

impl Settings {
    /// Reads the variables by `lookup`, and the file with the token.
    ///
    /// ```
    /// use cogview4_hub::Settings;
    ///
    /// let variables = [("HF_HOME", "/data/hf"), ("HF_HUB_OFFLINE", "1")];
    /// let lookup = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
    /// let settings = Settings::read(lookup);
    /// assert_eq!(settings.cache_dir.to_str(), Some("/data/hf/hub"));
    /// assert!(settings.offline);
    /// ```
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| get(name));
        let is_set = |name: &str| get(name).is_some_and(|value| is_true(&value));
        let path = |text: String| PathBuf::from(expand(&text, &get));

        let user_cache = first(&["XDG_CACHE_HOME"]).unwrap_or_else(|| "~/.cache".into());
        let home = path(get("HF_HOME").unwrap_or_else(|| format!("{user_cache}/huggingface")));
        let cache_dir = first(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]).map_or_else(|| home.join("hub"), path);
        let token_path = get("HF_TOKEN_PATH").map_or_else(|| home.join("token"), path);

        let (mut token, mut unreadable) = (None, None);
        if !is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            token = first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]).map(|secret| Token::new(&secret));
            if token.is_none() {
                (token, unreadable) = read_token(&token_path);
            }
        }
        Self {
            endpoint: get("HF_ENDPOINT"),
            cache_dir,
            token: token.filter(|token| !token.secret().is_empty()),
            offline: first(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]).is_some_and(|value| is_true(&value)),
            progress_bars: !is_set("HF_HUB_DISABLE_PROGRESS_BARS"),
            unreadable,
        }
    }
}

fn read_token(path: &Path) -> (Option<Token>, Option<(PathBuf, String)>) {
    match fs::read_to_string(path) {
        Ok(secret) => (Some(Token::new(&secret)), None),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => (None, None),
        Err(error) => (None, Some((path.into(), error.to_string()))),
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// A path with `~` in front, `$NAME` and `${NAME}` put in; what is not set stays as it is.
fn expand(text: &str, get: &impl Fn(&str) -> Option<String>) -> String {
    let home = || get("HOME").or_else(|| std::env::home_dir().map(|home| home.display().to_string()));
    let mut rest = text;
    let mut expanded = String::new();
    if let Some(after) = text.strip_prefix('~').filter(|after| after.is_empty() || after.starts_with('/'))
        && let Some(home) = home()
    {
        expanded = home;
        rest = after;
    }
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, length) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match get(name) {
            Some(value) if !name.is_empty() => expanded.push_str(&value),
            _ => expanded.push_str(&rest[at..at + 1 + length]),
        }
        rest = &after[length..];
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        Settings::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        for (variables, expected) in [
            (&[("HOME", "/h")][..], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")], "/h/hf/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "$HOME/c${HOME}/$NONE")], "/h/c/h/$NONE"),
            (&[("HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (&[("HOME", "/h"), ("HF_HUB_CACHE", "")], "/h/.cache/huggingface/hub"),
        ] {
            assert_eq!(read(variables).cache_dir, Path::new(expected), "{variables:?}");
        }
    }

    #[test]
    fn the_token_is_that_of_the_first_place() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("token"), " hf_home\n").expect("written");
        fs::write(folder.path().join("other"), "hf_other").expect("written");
        let (home, other) = (folder.path().display().to_string(), folder.path().join("other").display().to_string());
        let secret = |variables: &[(&str, &str)]| read(variables).token.map(|token| token.secret().to_owned());
        for (variables, expected) in [
            (&[("HF_HOME", home.as_str())][..], Some("hf_home")),
            (&[("HF_HOME", &home), ("HF_TOKEN_PATH", &other)], Some("hf_other")),
            (&[("HF_HOME", &home), ("HUGGING_FACE_HUB_TOKEN", "hf_old")], Some("hf_old")),
            (&[("HF_HOME", &home), ("HUGGING_FACE_HUB_TOKEN", "hf_old"), ("HF_TOKEN", "hf_new")], Some("hf_new")),
            (&[("HF_HOME", &home), ("HF_TOKEN", "hf_new"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None),
            (&[("HF_HOME", "/there/is/none")], None),
        ] {
            assert_eq!(secret(variables).as_deref(), expected, "{variables:?}");
        }
        let unreadable = read(&[("HF_TOKEN_PATH", &home)]);
        assert!(unreadable.token.is_none() && unreadable.unreadable.is_some(), "a folder is no file with a token");
    }

    #[test]
    fn switches_are_read_as_python_does() {
        for (value, on) in [("1", true), ("true", true), ("YES", true), ("On", true), ("0", false), ("", false)] {
            assert_eq!(read(&[("HF_HUB_OFFLINE", value)]).offline, on, "{value}");
            assert_eq!(read(&[("TRANSFORMERS_OFFLINE", value)]).offline, on, "{value}");
            assert_eq!(!read(&[("HF_HUB_DISABLE_PROGRESS_BARS", value)]).progress_bars, on, "{value}");
        }
        assert!(!read(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).offline);
    }
}

//! Addresses: what may be shown of them, whether a token may go there.

/// Whether a text is an address rather than a path; schemes may be written in capitals.
pub fn is_url(text: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
}

/// Scheme, host and port, as browsers compare them; `None` where a text is no address. One with a user or password has
/// none either: whom it names depends on who reads it.
pub(crate) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    if authority.is_empty() || authority.contains(['@', '\\']) || !authority.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return None;
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority.as_str(), default_port),
    };
    (!host.is_empty()).then(|| format!("{scheme}://{host}:{port}"))
}

/// An address as it may be shown: without user, query and fragment.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.split(['?', '#']).next().unwrap_or_default().into();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Scheme and host of an address, for messages.
pub(crate) fn shown_host(url: &str) -> String {
    let shown = shown(url);
    let start = shown.find("://").map_or(0, |at| at + 3);
    let end = shown[start..].find('/').map_or(shown.len(), |at| start + at);
    shown[..end].into()
}

/// A path as it stands in an address, its slashes kept.
pub(crate) fn encode_path(path: &str) -> String {
    encode(path, b"/")
}

/// One part of a path as it stands in an address: a slash in it is encoded too.
pub(crate) fn encode_segment(text: &str) -> String {
    encode(text, b"")
}

fn encode(text: &str, kept: &[u8]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || kept.contains(&byte);
    text.bytes().map(|byte| if is_plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_scheme_host_and_port() {
        let same = origin("https://huggingface.co");
        assert!(same.is_some());
        for url in ["https://huggingface.co/a", "HTTPS://HuggingFace.co:443/b?c", "https://huggingface.co?x"] {
            assert_eq!(origin(url), same, "{url}");
        }
        for url in [
            "http://huggingface.co",
            "https://huggingface.co:8443",
            "https://huggingface.co.evil.org",
            "https://huggingface.co@evil.org",
            "https://evil.org/https://huggingface.co",
            "https://huggingface.co\\@evil.org",
            "file:///etc/passwd",
            "https://",
            "huggingface.co",
        ] {
            assert_ne!(origin(url), same, "{url}");
        }
        assert_eq!(origin("http://[::1]:80/a"), origin("http://[::1]"));
    }

    #[test]
    fn nothing_secret_is_shown() {
        assert_eq!(shown("https://a:b@c.org/x?X-Amz-Signature=1#y"), "https://c.org/x");
        assert_eq!(shown_host("https://a:b@c.org:80/x?y"), "https://c.org:80");
        assert_eq!(shown_host("https://c.org"), "https://c.org");
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encode_path("a b/ä#?.json"), "a%20b/%C3%A4%23%3F.json");
        assert_eq!(encode_segment("refs/convert/parquet"), "refs%2Fconvert%2Fparquet");
    }
}

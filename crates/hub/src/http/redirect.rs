//! Where redirects lead.

use ureq::http::HeaderMap;

use super::{
    address::{is_url, origin},
    status::header,
};

/// Redirects that are followed one after another.
pub const MAX_REDIRECTS: usize = 5;

/// Whether an answer's status is that of a redirect.
pub fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect from an address leads; or why it is not followed, in words that stand behind "redirects" and repeat
/// nothing of the answer.
///
/// # Errors
/// The answer does not say where, or names what is no address of a server; from https to http.
pub fn next_address(url: &str, headers: &HeaderMap) -> Result<String, &'static str> {
    let location = header(headers, "location").ok_or("without saying where")?;
    let next = join(url, location).ok_or("to what is no address")?;
    if is_https(url) && !is_https(&next) {
        return Err("from https to http");
    }
    Ok(next)
}

fn is_https(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
}

/// Where a `Location` leads from an address; `None` where that is nowhere that can be asked.
fn join(base: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, rest) = base.split_once("://")?;
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let other = if is_url(location) {
        location.to_string()
    } else if let Some(other) = location.strip_prefix("//") {
        format!("{scheme}://{other}")
    } else if location.starts_with('/') {
        return Some(format!("{scheme}://{}{location}", &rest[..host_end]));
    } else {
        // Beside the last part of the path; other schemes end up here as well.
        let scheme_end = location.find([':', '/', '?']).filter(|&at| location.as_bytes()[at] == b':');
        if location.is_empty() || scheme_end.is_some() {
            return None;
        }
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let folder = path.rfind('/').map_or(path, |at| &path[..at]);
        return Some(format!("{scheme}://{folder}/{location}"));
    };
    // A host that the address itself names needs no look, and may come with a user.
    origin(&other).map(|_| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_read_as_browsers_do() {
        let base = "https://hub.org/a/b?c=d";
        for (location, expected) in [
            ("https://cdn.org/x?sig=1#f", Some("https://cdn.org/x?sig=1")),
            ("//cdn.org/x", Some("https://cdn.org/x")),
            ("/x/y", Some("https://hub.org/x/y")),
            ("x", Some("https://hub.org/a/x")),
            ("x?y=z:1", Some("https://hub.org/a/x?y=z:1")),
            ("", None),
            ("file:///etc/passwd", None),
            ("javascript:1", None),
            ("http://", None),
            ("//a:b@hub.org/x", None),
        ] {
            assert_eq!(join(base, location).as_deref(), expected, "{location}");
        }
        assert_eq!(join("http://hub.org", "/x").as_deref(), Some("http://hub.org/x"));
        assert_eq!(join("http://a:b@hub.org/y", "/x").as_deref(), Some("http://a:b@hub.org/x"), "the user stays");
    }

    #[test]
    fn https_stays_https() {
        let next = |url: &str, location: &str| {
            let headers = [(ureq::http::header::LOCATION, location.parse().expect("a header"))];
            next_address(url, &headers.into_iter().collect())
        };
        for (url, location) in [
            ("https://hub.org/a", "http://hub.org/a"),
            ("HTTPS://hub.org/a", "http://cdn.org"),
            ("https://hub.org", "HTTP://hub.org"),
        ] {
            assert_eq!(next(url, location), Err("from https to http"), "{url} {location}");
        }
        for (url, location) in [
            ("https://hub.org", "HTTPS://cdn.org/x"),
            ("http://hub.org", "https://cdn.org/x"),
            ("http://a", "http://b"),
        ] {
            assert_eq!(next(url, location).as_deref(), Ok(location), "{url}");
        }
        assert_eq!(next_address("https://hub.org", &HeaderMap::new()), Err("without saying where"));
        assert_eq!(next("https://hub.org", "file:///etc/passwd"), Err("to what is no address"));
    }
}

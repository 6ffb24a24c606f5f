//! Pictures from URLs.

use std::{borrow::Cow, time::Duration};

/// Larger downloads are refused.
const MAX_DOWNLOAD_BYTES: u64 = 256 << 20;
/// A server that does not answer for this long is given up.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether a location is a URL rather than a path.
pub(super) fn is_url(location: &str) -> bool {
    location.starts_with("http://") || location.starts_with("https://")
}

pub(super) fn download(url: &str) -> Result<Vec<u8>, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(DOWNLOAD_TIMEOUT)).build().into();
    let fetch = || -> Result<Vec<u8>, ureq::Error> {
        let mut response = agent.get(url).call()?;
        response.body_mut().with_config().limit(MAX_DOWNLOAD_BYTES).read_to_vec()
    };
    // Some errors repeat the URL.
    fetch().map_err(|error| error.to_string().replace(url, &shown(url)))
}

/// A location as it may be shown and kept: of a URL, user, password, query and fragment are cut, which may hold
/// secrets; a path stays as it is.
///
/// ```
/// use cogview4_control_pipeline::shown;
///
/// assert_eq!(shown("https://user:password@example.org/a.png?signature=1"), "https://example.org/a.png");
/// assert_eq!(shown("pictures/what?.png"), "pictures/what?.png");
/// ```
pub fn shown(location: &str) -> Cow<'_, str> {
    if !is_url(location) {
        return location.into();
    }
    let (scheme, rest) = location.split_once("://").expect("invariant: a URL has a scheme");
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls_are_not_shown() {
        for (url, expected) in [
            ("http://a.org", "http://a.org"),
            ("http://a.org?key=1", "http://a.org"),
            ("http://a:b@c@a.org:80/x@y.png#key", "http://a.org:80/x@y.png"),
            ("https://a.org/?u=http://b:c@d.org/", "https://a.org/"),
            ("a@b/c.png", "a@b/c.png"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
